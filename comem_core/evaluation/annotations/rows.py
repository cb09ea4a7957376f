"""Rows of annotation files: JSON lines, a JSON document, or Parquet, which may have embedded pictures.

A row names its file and its number there, counted from 1. A picture is read only when it is needed: all annotations are
held in memory, and pictures would not fit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.stated_fields import parse_json

BATCH_ROWS = 16  # pictures in memory at a time


@dataclass(frozen=True)
class Row:
    """The fields of a row. `fault` says why a row has no fields.

    `embedded` reads the picture inside the row and returns None where there is none; without embedded pictures in the
    file, `embedded` is None.
    """

    file: str
    number: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    embedded: Callable[[], bytes | None] | None = None
    fault: str = ""


def read_json_lines(path: Path) -> Iterator[Row]:
    """Yield one row per line. A line that is not a JSON object gives a row with a fault; empty lines are skipped."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                fields = parse_json(line)
            except ValueError as error:  # not JSON, not UTF-8, or nested too deeply
                yield Row(path.name, number, fault=str(error))
                continue
            yield _make_row(path.name, number, fields)


def read_json_entries(path: Path, name: str | None = None) -> Iterator[Row]:
    """Yield one row per entry of a JSON list, or of the list `name` of a JSON object.

    Raises ValueError for a file of another form.
    """
    try:
        document = parse_json(path.read_bytes())
        entries = document if name is None else document[name]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} has no list `{name}`: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path.name}: expected a list {name or ''} of entries; found {type(entries).__name__}")
    for number, fields in enumerate(entries, start=1):
        yield _make_row(path.name, number, fields)


def read_parquet_rows(paths: Sequence[Path], columns: Sequence[str], *, picture: str | None = None) -> Iterator[Row]:
    """Yield the rows of Parquet files with these columns.

    The column `picture` holds bytes, a file's name, or both as the library `datasets` stores them; the name becomes the
    field `picture`. Raises ValueError for a file that is not Parquet or lacks a column.
    """
    for path in paths:
        try:
            file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{path.name} is not a complete Parquet file: {error}") from error
        wanted = [*columns, *([picture] if picture else [])]
        if missing := [name for name in wanted if name not in file.schema_arrow.names]:
            raise ValueError(
                f"{path.name} has no column {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}"
            )
        embedded = EmbeddedPictures.of(path, file.schema_arrow, picture) if picture else None
        read = [*columns, *_find_name_column(file.schema_arrow, picture)]
        number = 0
        for batch in file.iter_batches(columns=read):
            for fields in batch.to_pylist():
                number += 1
                reader = embedded.reader(number - 1) if embedded else None
                yield Row(path.name, number, _set_picture_name(fields, picture), reader)


class EmbeddedPictures:
    """The pictures of one Parquet file, by the number of the row, counted from 0."""

    def __init__(self, path: Path, column: str, leaf: str):
        self.path, self.column, self.leaf = path, column, leaf
        self._file: pq.ParquetFile | None = None

    @classmethod
    def of(cls, path: Path, schema: pa.Schema, column: str) -> "EmbeddedPictures | None":
        """Return the pictures of a column; None where it does not hold bytes."""
        kind = schema.field(column).type
        if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return cls(path, column, f"{column}.bytes")
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return cls(path, column, column)
        return None

    def reader(self, row: int) -> Callable[[], bytes | None]:
        return lambda: self.read(row)

    def read(self, row: int) -> bytes | None:
        """Read one picture; its row group is read a few rows at a time, only as far as the picture."""
        if self._file is None:
            self._file = pq.ParquetFile(self.path, memory_map=True)
        group = 0
        while row >= (num_rows := self._file.metadata.row_group(group).num_rows):
            row, group = row - num_rows, group + 1
        batches = self._file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[self.leaf], use_threads=False)
        for batch in batches:
            if row < len(batch):
                value = batch.column(0)[row].as_py()
                return value.get("bytes") if isinstance(value, dict) else value
            row -= len(batch)
        raise AssertionError("a row group has as many rows as it says")


def _make_row(file: str, number: int, fields: Any) -> Row:
    if not isinstance(fields, dict):
        return Row(file, number, fault=f"expected an object with fields; found {type(fields).__name__}")
    return Row(file, number, fields)


def _find_name_column(schema: pa.Schema, picture: str | None) -> list[str]:
    if picture is None:
        return []
    kind = schema.field(picture).type
    if pa.types.is_struct(kind):
        return [f"{picture}.path"] if kind.get_field_index("path") >= 0 else []
    return [picture] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else []


def _set_picture_name(fields: dict[str, Any], picture: str | None) -> dict[str, Any]:
    if picture is not None:
        named = fields.pop(picture, None)
        fields["picture"] = named.get("path") if isinstance(named, dict) else named
    return fields
