"""An artefact while it is made: a `.partial` folder whose finished shards survive a crash.

Every file gets its name when it is whole, so a killed process loses none that it finished. Against a power failure a
shard is forced to the disk, before the record that lists it is; a batch, one of many small files, is not, and is made
again where it did not outlive the failure.
Knows files; nothing of Prefect, Ray or the warehouse, so that a worker imports it in no time and writes its own shards.
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

from tasks.engine.context import MEGABYTE

RECORD = "record.json"
KEPT = ".kept.json"
MEASURED = ".measured.json"
BATCHES = ".batches"
ROWS_OF = b"comem.rows_of"


class DiskFull(OSError):
    """No room for a shard; what was finished before it is kept."""


class BudgetSpent(Exception):
    """The time that a run may take is over; what is finished is kept, and makes a smaller result."""


@dataclass(frozen=True)
class Partial:
    """An artefact that is being made. Small and picklable: workers get it and write their shards themselves.

    Files of one that is not `durable` outlive their process, and perhaps not a power failure.
    """

    folder: Path
    min_free_bytes: int = 0
    durable: bool = True

    def list_finished(self) -> set[str]:
        """Name the files and folders that are done; what a crash left half-written is not among them.

        A Parquet shard is named as it was written, without its ending.
        """
        return {path.name.removesuffix(".parquet") for path in self.folder.iterdir() if not path.name.startswith(".")}

    def write_shard(self, name: str, table: pa.Table, *, rows_of: str | None = None) -> int:
        """Write a table as the Parquet shard `name`, whole or not at all, and return its number of rows.

        `rows_of` names the warehouse table of this shard, where it is another one than the stage's.
        """
        if rows_of is not None:
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), ROWS_OF: rows_of.encode()})
        with self.open_file(f"{name}.parquet") as path:
            pq.write_table(table, path, compression="zstd", write_page_checksum=not self.durable)
        return table.num_rows

    @contextlib.contextmanager
    def open_shard(self, name: str, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
        """Yield what writes the shard `name` row group by row group; it gets its name when it is whole."""
        with (
            self.open_file(f"{name}.parquet") as path,
            pq.ParquetWriter(path, schema, compression="zstd") as writer,
        ):
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
        """Yield an empty folder to fill; it gets its name, replacing an older one, when the block ends well."""
        with self._hidden(name) as hidden:
            hidden.mkdir()
            yield hidden
            for path in sorted(hidden.rglob("*"), reverse=True):
                flush(path)
            shutil.rmtree(self.folder / name, ignore_errors=True)
            os.replace(hidden, self.folder / name)
            flush(self.folder)

    def keep(self, name: str, value: Any) -> Any:
        """Remember a plain value on first call; a run that continues gets what the first run decided.

        For settings outside the recipe that must not change half-way, such as the rows of a shard.
        """
        kept = self._notes(KEPT)
        if name not in kept:
            self._note(KEPT, kept | {name: value})
        return kept.get(name, value)

    def measure(self, name: str, value: Any) -> None:
        """Note a plain value that was measured of the result; the record keeps it as `measured`."""
        self._note(MEASURED, self.read_measured() | {name: value})

    def read_measured(self) -> dict[str, Any]:
        """Return what was measured so far."""
        return self._notes(MEASURED)

    @property
    def batches(self) -> Path:
        """The folder of batches that are done, of shards that are not."""
        return self.folder / BATCHES

    def batches_of(self, shard: str) -> "Partial":
        """Open the folder of a shard's batches, which is made if it is not there."""
        folder = self.batches / shard
        folder.mkdir(parents=True, exist_ok=True)
        return Partial(folder, self.min_free_bytes, durable=False)

    def list_begun(self) -> list[str]:
        """Name the batches that are done, of shards that are not."""
        return sorted(path.relative_to(self.batches).as_posix() for path in self.batches.glob("*/[0-9]*.parquet"))

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
                "are kept: free some space and start the run again, it continues from there",
            ) from error
        finally:
            if hidden.is_dir():
                shutil.rmtree(hidden, ignore_errors=True)
            hidden.unlink(missing_ok=True)


def read_batch(path: Path) -> pa.Table | None:
    """Read a batch; None where a power failure left less of it than was written."""
    try:
        return pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid):
        return None


def flush(path: Path) -> None:
    """Force a file or a folder's list of names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
