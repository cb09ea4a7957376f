"""Artefacts on disk: `<store>/<stage>/<fingerprint>/`, named by how they are made, complete when a record is there.

An unfinished artefact is a `Partial`. Uses files and hashes, but not Prefect, Ray or the warehouse.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.addresses.copies import STAMPS, DamagedFile, find_damage, hash_file, open_folder, remove_damaged
from comem_core.disk import flush
from comem_core.serving.layout import RECORD, UNFINISHED, Record, ShardRecord, list_record_files, parse_record
from tasks.engine.context import MEGABYTE, Context
from tasks.engine.partial import KEPT, MEASURED, ROWS_OF, Partial, drop_torn, drop_unwritten, is_taken_over, read_batch

LIBRARIES = "libraries"


class ArtefactBusy(TimeoutError):
    """Another run is making the same artefact and did not end within the wait."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What stages pass to each other: the name of an artefact, and where it is. `planned` is the folder of one that a
    plan would make."""

    stage: str
    fingerprint: str
    uri: str
    num_rows: int
    planned: Path | None = None

    @property
    def folder(self) -> Path:
        """The local folder of its files; those of an artefact at an address are fetched first.

        Raises DamagedFile for a file that is not what its record says. It is removed at the address, so that the next
        run sees that it is missing, and makes it again.
        """
        try:
            return self.planned or open_folder(self.uri)
        except DamagedFile as damaged:
            remove_damaged(damaged)
            raise

    def list_shards(self) -> list[Path]:
        """List the Parquet shards in order of their names."""
        return sorted(self.folder.glob("*.parquet"))


class Store:
    """The folder of artefacts."""

    def __init__(self, folder: Path, *, lock_wait_seconds: float = 3600, min_free_bytes: int = 0) -> None:
        self.folder = folder
        self.lock_wait_seconds = lock_wait_seconds
        self.min_free_bytes = min_free_bytes

    @staticmethod
    def of(context: Context) -> "Store":
        """Return the store of a context: its folder, or the address whose local copy the folder is."""
        free = context.min_free_disk_mb * MEGABYTE // 10
        if context.store_address is None:
            return Store(context.store, lock_wait_seconds=context.lock_wait_seconds, min_free_bytes=free)
        from tasks.engine.address.store import RemoteStore  # which builds on this module

        waits = {"lock_wait_seconds": context.lock_wait_seconds, "min_free_bytes": free}
        return RemoteStore(context.store_address, context.store, **waits)

    @property
    def place(self) -> str:
        """The folder or address, as a user knows it."""
        return str(self.folder)

    def name_artefact(self, stage: str, fingerprint: str) -> str:
        """Return the folder or address of an artefact, which its record and references have."""
        return str(self.find_path(stage, fingerprint))

    def open_unfinished(self, stage: str, fingerprint: str) -> Path:
        """Return the local folder of an unfinished artefact, with what is finished of it."""
        return self.find_partial_folder(stage, fingerprint)

    def put_files(self, folder: str) -> None:
        """Hand on the files of a folder beside the artefacts, such as the history of runs."""

    def fetch_files(self, folder: str) -> None:
        """Bring the files of such a folder to this machine."""

    def find_path(self, stage: str, fingerprint: str) -> Path:
        return self.folder / stage / fingerprint

    def find_partial_folder(self, stage: str, fingerprint: str) -> Path:
        """Return the folder of an unfinished artefact."""
        return self.find_path(stage, fingerprint).with_suffix(UNFINISHED)

    def find(self, stage: str, fingerprint: str) -> Record | None:
        """Read the record of a complete artefact; None if there is none, or only a part of one."""
        path = self.find_path(stage, fingerprint) / RECORD
        if not path.exists():
            return None
        return parse_record(path.read_bytes(), uri=str(path.parent))

    def find_anywhere(self, fingerprint: str) -> Record | None:
        """Read the record of a complete artefact of any stage; None if there is none."""
        stages = sorted(path.parent.parent.name for path in self.folder.glob(f"*/{fingerprint}/{RECORD}"))
        return self.find(stages[0], fingerprint) if stages else None

    def list_records(self, stage: str) -> list[Record]:
        """List the records of a stage's complete artefacts, oldest first."""
        names = (path.parent.name for path in list_record_files(self.folder, stage))
        found = [record for name in names if (record := self.find(stage, name))]
        return sorted(found, key=lambda record: record["created"])

    def list_unfinished(self, stage: str) -> list[str]:
        """List the fingerprints of a stage's unfinished artefacts, also those that a process works on."""
        return sorted(path.stem for path in (self.folder / stage).glob(f"*{UNFINISHED}"))

    def measure_unfinished(self, stage: str, fingerprint: str) -> tuple[int, datetime] | None:
        """Return the bytes of an unfinished artefact, and when it last grew; None if nothing tells that."""
        folder = self.find_partial_folder(stage, fingerprint)
        files = [path.stat() for path in (folder, *folder.rglob("*"))]
        return sum(each.st_size for each in files), datetime.fromtimestamp(max(each.st_mtime for each in files), UTC)

    def all_records(self) -> Iterator[Record]:
        """Yield the records of all complete artefacts."""
        for path in list_record_files(self.folder):
            if record := self.find(path.parent.parent.name, path.parent.name):
                yield record

    def damage(self, record: Record, *, again: bool = True) -> dict[str, str]:
        """Map each file that differs from the record to its fault; empty means verified.

        Without `again`, what was verified before and has not been touched since is not hashed again.
        """
        return find_damage(self.find_path(record["stage"], record["fingerprint"]), record, again=again)

    def find_file(self, record: Record, shard: ShardRecord) -> Path | None:
        """Return the local path of an artefact's file; None if it is missing. It may be damaged."""
        path = self.find_path(record["stage"], record["fingerprint"]) / shard["file"]
        return path if path.exists() else None

    def has_all(self, record: Record) -> bool:
        """Tell whether all files of an artefact are there."""
        folder = self.find_path(record["stage"], record["fingerprint"])
        return all((folder / shard["file"]).exists() for shard in record["shards"])

    @contextlib.contextmanager
    def lock(self, stage: str, fingerprint: str) -> Iterator[bool]:
        """Let one process at a time work on an artefact; yield whether this one had to wait for another.

        Raises ArtefactBusy after `lock_wait_seconds`. The end of a process releases its lock.
        """
        path = self.find_path(stage, fingerprint).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        try:
            lock.acquire(timeout=0)
            waited = False
        except filelock.Timeout:
            waited = True
            try:
                lock.acquire(timeout=self.lock_wait_seconds, poll_interval=0.2)
            except filelock.Timeout:
                raise self.refuse_wait(stage, fingerprint) from None
        try:
            yield waited
        finally:
            lock.release()

    def refuse_wait(self, stage: str, fingerprint: str) -> ArtefactBusy:
        """Return the error of a process that waited for another one in vain."""
        return ArtefactBusy(
            f"another run has been making {stage} {fingerprint} for more than {self.lock_wait_seconds:.0f} s. "
            "Wait for it or stop it (COMEM_LOCK_WAIT_SECONDS sets the wait)"
        )

    def begin(self, stage: str, fingerprint: str) -> Partial:
        """Open the partial folder of an artefact, with the files of an interrupted run or a damaged artefact.

        The undamaged shards of a damaged artefact stay; the others are removed. None stays if rows that were taken
        over are lost, because the others were shared out without them. Call it under the lock.
        """
        final, folder = self.find_path(stage, fingerprint), self.find_partial_folder(stage, fingerprint)
        if final.exists():
            shutil.rmtree(folder, ignore_errors=True)
            record = self.find(stage, fingerprint)
            faults = self.damage(record) if record else {}
            if record and not any(map(is_taken_over, faults)):
                for file in faults:
                    (final / file).unlink(missing_ok=True)
                (final / RECORD).unlink()
                os.replace(final, folder)
                if "libraries" in record:
                    Partial(folder).keep_each(LIBRARIES, record["libraries"])
            else:
                shutil.rmtree(final)  # without a record, nothing tells which shards are damaged either
        drop_torn(folder)
        folder.mkdir(parents=True, exist_ok=True)
        drop_unwritten(folder)
        partial = Partial(folder, self.min_free_bytes)
        for shard in sorted(partial.batches.glob("*")):
            self.remove_damaged_batches(shard)
        return partial

    @staticmethod
    def remove_damaged_batches(batches: Path) -> None:
        """Remove the first batch of a shard that a power failure damaged, and all batches after it."""
        whole = True
        for path in sorted(batches.glob("[0-9]*.parquet")):
            whole = whole and read_batch(path) is not None
            if not whole:
                path.unlink()

    def begin_with(self, finished: Partial, stage: str, fingerprint: str) -> Partial:
        """Open the partial folder of a smaller artefact, with the finished shards and batches of another one."""
        smaller = self.begin(stage, fingerprint)
        for path in sorted(finished.folder.glob("[!.]*")):
            if not (smaller.folder / path.name).exists():
                os.link(path, smaller.folder / path.name)
        self.join_batches(finished, smaller)
        return smaller

    @staticmethod
    def join_batches(finished: Partial, smaller: Partial) -> None:
        """Make the finished batches of unfinished shards the shards of a smaller artefact."""
        for folder in sorted(finished.batches.glob("*")):
            if batches := sorted(folder.glob("[0-9]*.parquet")):
                tables = [pq.read_table(path) for path in batches]
                smaller.write_shard(folder.name, pa.concat_tables(tables, promote_options="default"))

    def finish(self, partial: Partial, record: Record) -> Record:
        """Hash the shards, write the record last, give the artefact its name, and return the completed record.

        What was kept and measured goes only after that, so that it is there for a run that finishes in place of this.
        """
        record = {**record, "measured": partial.read_measured()}
        (partial.folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(partial.batches, ignore_errors=True)
        drop_unwritten(partial.folder)  # of workers that were killed while the others went on
        found = [path for path in sorted(partial.folder.rglob("*")) if path.is_file()]
        files = [path for path in found if path.name not in (KEPT, MEASURED, STAMPS)]
        shards = [describe_shard(path, partial.folder) for path in files]
        final = self.find_path(record["stage"], record["fingerprint"])
        record = self.complete(record, shards, str(final))
        with partial.open_file(RECORD) as path:
            path.write_text(json.dumps({key: value for key, value in record.items() if key != "uri"}, indent=1))
        os.replace(partial.folder, final)
        flush(final.parent)
        self.drop_unfinished(record["stage"], record["fingerprint"])
        return record

    def drop_unfinished(self, stage: str, fingerprint: str) -> None:
        """Remove what is here of the making of an artefact that is complete; a process may have been ended before it
        could. Call it under the lock."""
        shutil.rmtree(self.find_partial_folder(stage, fingerprint), ignore_errors=True)
        for file in (KEPT, MEASURED):
            (self.find_path(stage, fingerprint) / file).unlink(missing_ok=True)

    def remove(self, stage: str, fingerprint: str) -> None:
        """Remove an artefact, its record first: what is half removed does not look complete. Call it under the lock."""
        (self.find_path(stage, fingerprint) / RECORD).unlink(missing_ok=True)
        for folder in (self.find_path(stage, fingerprint), self.find_partial_folder(stage, fingerprint)):
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def complete(record: Record, shards: list[ShardRecord], uri: str) -> Record:
        """Add to a record what its shards are, in the order of their names, and where they are."""
        digests = "".join(f"{shard['file']} {shard['sha256']}\n" for shard in shards)
        record = {**record, "shards": shards, "uri": uri}
        # The stage's own rows, without the shards for another table, such as faults.
        record["num_rows"] = sum(shard["rows"] for shard in shards if "table" not in shard)
        record["num_bytes"] = sum(shard["bytes"] for shard in shards)
        record["content_sha256"] = hashlib.sha256(digests.encode()).hexdigest()
        return record


def describe_shard(path: Path, folder: Path) -> ShardRecord:
    """Hash a file and, if it is Parquet, count its rows and read the name of their table."""
    name = path.relative_to(folder).as_posix()
    shard: ShardRecord = {"file": name, "sha256": hash_file(path), "bytes": path.stat().st_size, "rows": 0}
    if path.suffix == ".parquet":
        facts = pq.read_metadata(path)
        shard["rows"] = facts.num_rows
        if rows_of := (facts.metadata or {}).get(ROWS_OF):
            shard["table"] = rows_of.decode()
    return shard
