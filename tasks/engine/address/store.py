"""The store at an address: a record there makes an artefact complete, and locks are leases. See `Store` for the rest.

Nothing at the address is renamed: files are there under their final names before the record is, and a folder without a
record is unfinished. `folder` is the local copy, in which every process works.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from comem_core.addresses.copies import (
    Copy,
    DamagedFile,
    find_whole,
    forget_opened,
    forget_verified,
    is_as_recorded,
    read_stamps,
)
from comem_core.addresses.remote import Remote
from comem_core.data_roots import is_file_name
from comem_core.serving.layout import RECORD, Record, ShardRecord
from tasks.engine.address.lease import LEASE_SECONDS, Lease, hold_lease
from tasks.engine.address.partial import HEAVY, WHOLE, Receipt, RemotePartial
from tasks.engine.partial import BATCHES, Partial, is_taken_over
from tasks.engine.store import LIBRARIES, Store, describe_shard


@dataclass(frozen=True)
class _Leases:
    """The leases that this process holds, by the addresses of their artefacts."""

    held: ClassVar[dict[str, Lease]] = {}


class RemoteStore(Store):
    """The artefacts at an address, and the folder of their local copy."""

    def __init__(
        self,
        address: str,
        folder: Path,
        *,
        lock_wait_seconds: float = 3600,
        min_free_bytes: int = 0,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        super().__init__(folder, lock_wait_seconds=lock_wait_seconds, min_free_bytes=min_free_bytes)
        self.copy, self.lease_seconds = Copy(address, folder), lease_seconds

    @property
    def place(self) -> str:
        return self.copy.address

    def name_artefact(self, stage: str, fingerprint: str) -> str:
        return self.copy.name(stage, fingerprint)

    def find(self, stage: str, fingerprint: str) -> Record | None:
        return self.copy.read_record(stage, fingerprint)

    def find_anywhere(self, fingerprint: str) -> Record | None:
        stages = (stage for stage in self.copy.remote.list_names() if not stage.startswith("."))
        return next((found for stage in stages if (found := self.find(stage, fingerprint))), None)

    def list_records(self, stage: str) -> list[Record]:
        return self.copy.list_records(stage)

    def list_unfinished(self, stage: str) -> list[str]:
        files = self.copy.remote.list_sizes(stage)
        folders = {name.split("/")[1] for name in files if name.count("/") > 1 and "." not in name.split("/")[1]}
        return sorted(folder for folder in folders if f"{stage}/{folder}/{RECORD}" not in files)

    def measure_unfinished(self, stage: str, fingerprint: str) -> tuple[int, datetime] | None:
        remote = self.copy.remote.enter(f"{stage}/{fingerprint}")
        written = remote.find_last_written("")
        return None if written is None else (sum(remote.list_sizes().values()), written)

    def all_records(self) -> Iterator[Record]:
        yield from self.copy.list_records()

    def open_unfinished(self, stage: str, fingerprint: str) -> Path:
        """Return the local folder of an unfinished artefact, with what is finished of it at the address."""
        partial = self._open_partial(stage, fingerprint)
        if partial.remote.list_sizes():
            partial.fetch_unfinished()
        return partial.folder

    def damage(self, record: Record, *, again: bool = True) -> dict[str, str]:
        """Map each file that differs from the record to its fault; empty means verified.

        Files with rows are fetched and hashed, because the warehouse reads them. Of weights and vectors that are not
        here the address tells the size; they are hashed when a process fetches them.
        """
        place, faults = f"{record['stage']}/{record['fingerprint']}", {}
        folder = self.find_path(record["stage"], record["fingerprint"])
        (forget_verified if again else read_stamps)(folder)
        sizes = self.copy.remote.list_sizes(place)
        for shard in record["shards"]:
            found = sizes.get(f"{place}/{shard['file']}")
            if found is None:
                faults[shard["file"]] = "is missing"
            elif found != shard["bytes"]:
                faults[shard["file"]] = f"differs from its record ({found} bytes, were {shard['bytes']})"
            elif not shard["file"].endswith(HEAVY) and not is_as_recorded(folder / shard["file"], shard):
                try:
                    self.copy.fetch(record, lambda file, wanted=shard["file"]: file == wanted)
                except DamagedFile:
                    faults[shard["file"]] = f"differs from its record (was sha256 {shard['sha256'][:8]})"
        return faults

    def find_file(self, record: Record, shard: ShardRecord) -> Path | None:
        return find_whole(record["uri"], shard["file"], shard["sha256"])

    def has_all(self, record: Record) -> bool:
        place = f"{record['stage']}/{record['fingerprint']}"
        sizes = self.copy.remote.list_sizes(place)
        return all(f"{place}/{shard['file']}" in sizes for shard in record["shards"])

    @contextlib.contextmanager
    def lock(self, stage: str, fingerprint: str) -> Iterator[bool]:
        """Let one process at a time work on an artefact; yield whether this one had to wait for another.

        Raises ArtefactBusy after `lock_wait_seconds`. A process that does not renew its lease loses it.
        """
        lease = Lease(self.copy.remote, f"{stage}/{fingerprint}.lock", seconds=self.lease_seconds)
        name = self.name_artefact(stage, fingerprint)
        with contextlib.ExitStack() as stack:
            try:
                waited = stack.enter_context(hold_lease(lease, wait_seconds=self.lock_wait_seconds))
            except TimeoutError:
                raise self.refuse_wait(stage, fingerprint) from None
            _Leases.held[name] = lease
            stack.callback(_Leases.held.pop, name, None)
            yield waited

    def _open_partial(self, stage: str, fingerprint: str) -> RemotePartial:
        folder, address = self.find_partial_folder(stage, fingerprint), self.name_artefact(stage, fingerprint)
        return RemotePartial(folder, self.min_free_bytes, address=address)

    def begin(self, stage: str, fingerprint: str) -> Partial:
        """Open an artefact to make or continue it: what is finished at the address is brought here, whoever made it.

        Of a damaged artefact the undamaged files stay, as in a store in a folder. Call it under the lock.
        """
        partial = self._open_partial(stage, fingerprint)
        forget_opened(partial.address)
        partial.folder.mkdir(parents=True, exist_ok=True)
        if record := self.find(stage, fingerprint):
            self._take_apart(partial, record)
        partial.fetch_unfinished()
        if record and "libraries" in record:
            partial.keep_each(LIBRARIES, record["libraries"])
        for shard in sorted(partial.batches.glob("*")):
            kept = {each.name for each in shard.iterdir()}
            self.remove_damaged_batches(shard)
            gone = kept - {each.name for each in shard.iterdir()}
            partial.remote.remove(f"{BATCHES}/{shard.name}/{name}" for name in sorted(gone))
        return partial

    def _take_apart(self, partial: RemotePartial, record: Record) -> None:
        """Make a complete artefact an unfinished one, without its damaged files."""
        faults = self.damage(record)
        if any(map(is_taken_over, faults)):
            faults = {shard["file"]: "" for shard in record["shards"]}
        whole = [shard for shard in record["shards"] if shard["file"] not in faults]
        for shard in whole:
            partial.remote.write(f"{WHOLE}/{shard['file']}", Receipt.of_shard(shard).write())
        partial.remote.remove([RECORD])
        partial.remote.remove(faults)
        final = self.find_path(record["stage"], record["fingerprint"])
        for shard in whole:  # what is here need not be fetched again
            if is_as_recorded(final / shard["file"], shard):
                (partial.folder / shard["file"]).parent.mkdir(parents=True, exist_ok=True)
                os.replace(final / shard["file"], partial.folder / shard["file"])
        shutil.rmtree(final, ignore_errors=True)

    def begin_with(self, finished: Partial, stage: str, fingerprint: str) -> Partial:
        """Open a smaller artefact with the finished shards and batches of another one; shards are copied there."""
        assert isinstance(finished, RemotePartial)
        smaller = self.begin(stage, fingerprint)
        assert isinstance(smaller, RemotePartial)
        there = smaller.read_receipts()
        for name, receipt in finished.read_receipts().items():
            if name not in there:
                smaller.take_file(receipt.describe(name), finished.address, name)
        smaller.fetch_finished()
        finished.fetch_unfinished()
        self.join_batches(finished, smaller)
        return smaller

    def finish(self, partial: Partial, record: Record) -> Record:
        """Put what is not there yet to the address, then the record, and return the completed record.

        Raises LeaseLost if another process has taken the artefact over, so that it is not completed twice.
        """
        assert isinstance(partial, RemotePartial)
        partial.fetch_finished()
        record = {**record, "measured": partial.read_measured()}
        shards = self._put_all(partial)
        record = self.complete(record, shards, self.name_artefact(record["stage"], record["fingerprint"]))
        if lease := _Leases.held.get(record["uri"]):
            lease.check()
        content = json.dumps({key: value for key, value in record.items() if key != "uri"}, indent=1)
        partial.remote.write(RECORD, content.encode())
        known = {RECORD, *(shard["file"] for shard in shards)}
        partial.remote.remove([name for name in partial.remote.list_sizes() if name not in known])
        final = self.find_path(record["stage"], record["fingerprint"])
        shutil.rmtree(final, ignore_errors=True)
        os.replace(partial.folder, final)
        forget_opened(record["uri"])
        return record

    def _put_all(self, partial: RemotePartial) -> list[ShardRecord]:
        """Describe every file of the artefact, and upload those that are only here."""
        receipts = partial.read_receipts()
        for path in sorted(partial.folder.glob(".*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        found: dict[str, ShardRecord] = {}
        for path in sorted(each for each in partial.folder.rglob("*") if each.is_file()):
            shard = describe_shard(path, partial.folder)
            found[shard["file"]] = shard
            receipt = receipts.get(shard["file"])
            if receipt is None or receipt != Receipt.of_shard(shard):
                partial.remote.upload(path, shard["file"])
        for name, receipt in receipts.items():
            if name not in found:
                found[name] = receipt.describe(name)
        return [found[name] for name in sorted(found)]

    def remove(self, stage: str, fingerprint: str) -> None:
        """Remove an artefact at the address, its record first, and the copy that is here."""
        remote = self.copy.remote.enter(f"{stage}/{fingerprint}")
        remote.remove([RECORD])
        remote.remove(remote.list_sizes())
        super().remove(stage, fingerprint)
        forget_opened(self.name_artefact(stage, fingerprint))

    def put_files(self, folder: str) -> None:
        remote = Remote(f"{self.place}/{folder}")
        there = remote.list_sizes()
        for path in sorted(each for each in (self.folder / folder).rglob("*") if each.is_file()):
            name = path.relative_to(self.folder / folder).as_posix()
            if there.get(name) != path.stat().st_size:
                remote.upload(path, name)

    def fetch_files(self, folder: str) -> None:
        remote = Remote(f"{self.place}/{folder}")
        remote.download(
            {
                name: self.folder / folder / name
                for name, size in remote.list_sizes().items()
                if is_file_name(name)
                and not ((path := self.folder / folder / name).exists() and path.stat().st_size == size)
            }
        )
