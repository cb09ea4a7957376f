"""Parquet: pieces are row ranges. A reader continues from its position, so that a large row group is read only once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.corpora.columns import PICTURE_STRUCT, SAMPLE, check_names, list_needed_columns
from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow
from comem_core.knowledge.corpora.wit import COLUMNS, is_wit

ENDINGS = (".parquet", ".pq")
BATCH_ROWS = 64
BUFFER_BYTES = 1_000_000


class Parquet(Form):
    """One Parquet file."""

    def __init__(self, files: Files, name: str, columns: tuple[tuple[str, str], ...] = ()):
        self.files, self.name, self.columns = files, name, columns
        self._forget()

    def _forget(self) -> None:
        self._file: pq.ParquetFile | None = None
        self._labels: dict[str, Sequence[str]] = {}
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next = 0  # the row that `_batches` yields next
        self._held: tuple[int, pa.RecordBatch] | None = None  # the latest batch and its first row

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the file into pieces of `size` rows."""
        yield from cut_rows(self.name, self._open().metadata.num_rows, size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        for first, batch in self._read_batches(piece.start):
            begin, end = max(piece.start, first), min(piece.stop, first + len(batch))
            if begin < end:
                rows = read_rows_of(batch.slice(begin - first, end - begin), self._labels)
                for number, fields in enumerate(rows, start=begin + 1):
                    yield RawRow(self.name, number, fields)
            if first + len(batch) >= piece.stop:
                return

    def read_names(self, piece: Piece) -> Iterator[RawRow]:
        """Read rows without the content of pictures."""
        names = read_columns(self._open().schema_arrow, self.columns)
        kinds = {name: self._open().schema_arrow.field(name).type for name in names}
        chosen = [
            f"{name}.path" if pa.types.is_struct(kind) else name for name, kind in kinds.items() if not _is_heavy(kind)
        ]
        first = 0
        for batch in self._open().iter_batches(columns=chosen, use_threads=False) if chosen else ():
            begin, end = max(piece.start, first), min(piece.stop, first + len(batch))
            rows = batch.slice(begin - first, end - begin).to_pylist() if begin < end else ()
            yield from (RawRow(self.name, number, fields) for number, fields in enumerate(rows, start=begin + 1))
            first += len(batch)

    def _read_batches(self, start: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield batches with their first rows, from `start` or a little before it.

        Continues from the latest batch if possible; it seeks only to a later row group or back to earlier rows.
        """
        file, group, first = self._open(), 0, 0
        while group < file.num_row_groups and first + file.metadata.row_group(group).num_rows <= start:
            first += file.metadata.row_group(group).num_rows
            group += 1
        begin = self._held[0] if self._held else None
        if begin is None or begin > start or first > self._next:
            groups = list(range(group, file.num_row_groups))
            read = read_columns(file.schema_arrow, self.columns)
            # Without threads and read-ahead, a row group is decoded step by step and never held whole in memory.
            batches = file.iter_batches(BATCH_ROWS, row_groups=groups, columns=read, use_threads=False)
            self._batches = batches if groups else iter(())
            self._next, self._held = first, None
        if self._held is not None and start < self._next:
            yield self._held
        for batch in self._batches:
            self._held = (self._next, batch)
            self._next += len(batch)
            yield self._held

    def _open(self) -> pq.ParquetFile:
        if self._file is None:
            local = self.files.find_local(self.name)
            source: Any = str(local) if local is not None else self.files.open(self.name)
            try:
                self._file = pq.ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False)
            except (pa.ArrowInvalid, OSError) as error:
                raise ValueError(f"{self.name} is not a complete Parquet file: {error}") from error
            check_names(self.name, self._file.schema_arrow.names, self.columns)
            self._labels = read_labels(self._file.schema_arrow)
        return self._file


def cut_rows(name: str, num_rows: int, size: int) -> Iterator[Piece]:
    """Cut a table into pieces of `size` rows."""
    for start in range(0, num_rows, size):
        stop = min(start + size, num_rows)
        yield Piece(file=name, start=start, stop=stop, row=start + 1, num_rows=stop - start)


def read_columns(schema: pa.Schema, columns: tuple[tuple[str, str], ...]) -> list[str]:
    """List the columns of a table that become fields. A struct of bytes and path is a picture, whatever its name."""
    if is_wit(schema.names) and not columns:
        return [name for name in schema.names if name in COLUMNS]
    pictures = [field.name for field in schema if is_picture(field.type)]
    wanted = {*list_needed_columns(schema.names, columns), *pictures, *SAMPLE}
    return [name for name in schema.names if name in wanted]


def _is_heavy(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_list(kind)


def read_rows_of(batch: pa.RecordBatch, labels: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch, with the names of labels (`read_labels`) instead of their numbers."""
    for fields in batch.to_pylist():
        for name in labels.keys() & fields.keys():
            number = fields[name]
            fields[name] = labels[name][number] if number is not None and 0 <= number < len(labels[name]) else None
        yield fields


def read_labels(schema: pa.Schema) -> dict[str, Sequence[str]]:
    """Return the names of labels by column: `datasets` stores a ClassLabel as a number, -1 for none."""
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features") or {}
    return {name: each["names"] for name, each in features.items() if "names" in each}


def is_picture(kind: pa.DataType) -> bool:
    """Tell whether a column holds pictures as `datasets` stores them, one or a list in each row."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return is_picture(kind.value_type)
    return pa.types.is_struct(kind) and {field.name for field in kind.fields} >= PICTURE_STRUCT
