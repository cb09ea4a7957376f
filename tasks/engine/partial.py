"""An artefact while it is made: a `.partial` folder whose finished shards survive a crash.

A file gets its name only when it is whole, so a killed process loses no finished file. To survive a power failure, a
shard is forced to the disk before the record that lists it. A batch is not, because there are many and they are small;
one that a power failure damages is made again.

Uses files, but not Prefect, Ray or the warehouse, so that a worker imports it quickly and writes its own shards.
"""

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.disk import flush, link_file
from comem_core.serving.layout import ShardRecord
from tasks.engine.context import MEGABYTE

KEPT = ".kept.json"
MEASURED = ".measured.json"
BATCHES = ".batches"
ROWS_OF = b"comem.rows_of"
TAKEN_OVER = "-before.parquet"  # how the file ends whose rows come from earlier artefacts


class DiskFull(OSError):
    """The disk has no room for a shard; shards that were finished before are kept."""


class BudgetSpent(Exception):
    """The time allowed for a run is over; what is finished is kept and becomes a smaller result."""


@dataclass(frozen=True)
class Partial:
    """An artefact that is being made. Small and picklable: workers get it and write their shards themselves.

    Without `durable`, its files survive the end of their process but perhaps not a power failure.
    """

    folder: Path
    min_free_bytes: int = 0
    durable: bool = True

    def list_finished(self) -> set[str]:
        """List the names of finished files and folders, without those that a crash left half-written.

        A Parquet shard is named as `write_shard` named it, without its suffix.
        """
        return {path.name.removesuffix(".parquet") for path in self.folder.iterdir() if not path.name.startswith(".")}

    def write_shard(self, name: str, table: pa.Table, *, rows_of: str | None = None) -> int:
        """Write a table as the Parquet shard `name`, whole or not at all, and return its number of rows.

        `rows_of` names the warehouse table of this shard, if it is not the stage's.
        """
        if rows_of is not None:
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), ROWS_OF: rows_of.encode()})
        table = _name_entries(table)
        options: dict[str, Any] = _choose_options(table.schema) | {"write_page_checksum": not self.durable}
        with self.open_file(f"{name}.parquet") as path, pq.ParquetWriter(path, table.schema, **options) as writer:
            if table.num_rows:  # `datasets` refuses a folder in which one file has a row group without rows
                writer.write_table(table)
        return table.num_rows

    @contextlib.contextmanager
    def open_shard(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Yield a writer of the shard `name`, row group by row group; the file gets its name when it is whole."""
        options = _choose_options(schema)
        with self.open_file(f"{name}.parquet") as path, pq.ParquetWriter(path, schema, **options) as writer:
            yield writer

    @contextlib.contextmanager
    def open_file(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; the file gets its name when the block ends without error.

        Raises DiskFull when there is no room.
        """
        with self._hidden(name) as hidden:
            yield hidden
            if self.durable:
                flush(hidden)
            os.replace(hidden, self.folder / name)
            if self.durable:
                flush(self.folder)

    @contextlib.contextmanager
    def open_folder(self, name: str) -> Iterator[Path]:
        """Yield an empty folder to fill; when the block ends without error it gets its name, replacing an older one."""
        with self._hidden(name) as hidden:
            hidden.mkdir()
            yield hidden
            for path in sorted(hidden.rglob("*"), reverse=True):
                flush(path)
            shutil.rmtree(self.folder / name, ignore_errors=True)
            os.replace(hidden, self.folder / name)
            flush(self.folder)

    def keep(self, name: str, value: Any) -> Any:
        """Remember a plain value on the first call and return it; a run that continues gets the value of the first run.

        For settings outside the recipe that must not change half-way, such as the number of rows of a shard.
        """
        kept = self._notes(KEPT)
        if name not in kept:
            self._note(KEPT, kept | {name: value})
        return kept.get(name, value)

    def keep_each(self, name: str, value: Any) -> list[Any]:
        """Remember a plain value beside those of earlier calls, and return all that differ, in order.

        For settings that may change half-way, if the result says so.
        """
        kept = self._notes(KEPT)
        values = kept.get(name, [])
        if value not in values:
            values = [*values, value]
            self._note(KEPT, kept | {name: values})
        return values

    def measure(self, name: str, value: Any) -> None:
        """Note a plain value that was measured on the result; the record keeps it in `measured`."""
        self._note(MEASURED, self.read_measured() | {name: value})

    def read_measured(self) -> dict[str, Any]:
        """Return the values measured so far."""
        return self._notes(MEASURED)

    @property
    def batches(self) -> Path:
        """The folder of finished batches of unfinished shards."""
        return self.folder / BATCHES

    def batches_of(self, shard: str) -> "Partial":
        """Open the folder of a shard's batches, and make it if it is missing."""
        folder = self.batches / shard
        folder.mkdir(parents=True, exist_ok=True)
        return Partial(folder, self.min_free_bytes, durable=False)

    def list_begun(self) -> list[str]:
        """List the names of finished batches of unfinished shards."""
        return sorted(path.relative_to(self.batches).as_posix() for path in self.batches.glob("*/[0-9]*.parquet"))

    # What workers of one artefact share: with one disk nothing is to be done (`tasks.engine.address.partial`).

    def fetch_finished(self) -> None:
        """Bring what workers on other machines have finished to this one, if they do not share the folder."""

    def put(self, *names: str) -> None:
        """Hand on files that were written in place, so that the artefact is continued with them elsewhere."""

    def take(self, *names: str) -> None:
        """Bring such files here, in the state in which they were handed on last."""

    def remove(self, *names: str) -> None:
        """Remove files that are not part of the result any more; those that are not there are left alone."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def remove_batches(self, shard: str) -> None:
        """Remove the batches of a shard that is finished."""
        shutil.rmtree(self.batches / shard)

    def has_file(self, name: str, num_bytes: int) -> bool:
        """Tell whether a file of this size is there."""
        path = self.folder / name
        return path.is_file() and path.stat().st_size == num_bytes

    def take_file(self, shard: ShardRecord, uri: str, name: str) -> None:
        """Take a file of another artefact under a name, without copying it where the disk can link it."""
        link_file(Path(uri) / shard["file"], self.folder / name)

    # What the processes of one training tell each other.

    def post(self, name: str, text: str) -> None:
        """Leave a short text for the other processes, replacing the last one of this name."""
        (self.folder / name).write_text(text, encoding="utf-8")

    def append_line(self, name: str, line: str) -> None:
        """Leave a line for the other processes, behind those of this name."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def read_lines(self, name: str) -> list[str]:
        """Return the lines that were left whole under a name, in order."""
        path = self.folder / name
        return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []

    def read_posts(self, prefix: str) -> list[str]:
        """Return the texts that were left under names that begin so, in order of the names."""
        return [path.read_text(encoding="utf-8") for path in sorted(self.folder.glob(f"{prefix}*"))]

    def has_post(self, name: str) -> bool:
        """Tell whether a text was left under a name."""
        return (self.folder / name).exists()

    def list_hidden(self, prefix: str) -> list[str]:
        """List the names of the files that begin so, such as checkpoints, in order."""
        return sorted(path.name for path in self.folder.glob(f"{prefix}*"))

    def fetch_hidden(self, name: str) -> Path:
        """Return the path of such a file."""
        return self.folder / name

    def clear(self, *prefixes: str) -> None:
        """Remove the files whose names begin so, such as checkpoints and what processes told each other."""
        self.remove(*(name for prefix in prefixes for name in self.list_hidden(prefix)))

    def _notes(self, file: str) -> dict[str, Any]:
        path = self.folder / file
        return json.loads(path.read_text()) if path.exists() else {}

    def _note(self, file: str, values: dict[str, Any]) -> None:
        with self.open_file(file) as hidden:
            hidden.write_text(json.dumps(values))

    @contextlib.contextmanager
    def _hidden(self, name: str) -> Iterator[Path]:
        hidden = self.folder / f".{name}.{uuid.uuid4().hex[:8]}.tmp"
        try:
            free = shutil.disk_usage(self.folder).free
            if free < self.min_free_bytes:
                raise OSError(errno.ENOSPC, f"less than {self.min_free_bytes // MEGABYTE} MB are free")
            yield hidden
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                errno.ENOSPC,
                f"the disk is full: no room for {name} in {self.folder} ({error.strerror or error}). Finished shards "
                "are kept: free some space and start the run again; it continues from there",
            ) from error
        finally:
            if hidden.is_dir():
                shutil.rmtree(hidden, ignore_errors=True)
            hidden.unlink(missing_ok=True)


def _choose_options(schema: pa.Schema) -> dict[str, Any]:
    """Return how a shard is written: without a dictionary of its pictures, which are read in 0.6 of the time so."""
    repeating = [field for field in schema if not pa.types.is_binary(field.type)]
    paths = [f"{each.name}.list.element" if pa.types.is_list(each.type) else each.name for each in repeating]
    return {"compression": "zstd", "use_dictionary": paths if len(paths) < len(schema) else True}


def _name_entries(table: pa.Table) -> pa.Table:
    """Name the entries of lists `item`, as pyarrow does where it makes them and not where it reads them from a file, so
    that a shard has the same bytes whether or not its rows were read again."""
    fields = [
        field.with_type(pa.list_(field.type.value_type)) if pa.types.is_list(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def is_taken_over(file: str) -> bool:
    """Tell whether the rows of a file were taken over from earlier artefacts."""
    return file.endswith(TAKEN_OVER)


def read_batch(path: Path) -> pa.Table | None:
    """Read a batch; None if a power failure damaged it."""
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid):
        return None


def drop_unwritten(folder: Path) -> None:
    """Remove what a process was writing when it was ended."""
    for left in folder.glob(".*.tmp"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def drop_torn(folder: Path) -> None:
    """Remove the finished shards that a fault of the disk has cut off, which have no end.

    If such a one was taken over, all go, because the others were shared out without its rows.
    """
    for path in folder.glob("[!.]*.parquet"):
        try:
            pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError):
            shutil.rmtree(folder) if is_taken_over(path.name) else path.unlink(missing_ok=True)
