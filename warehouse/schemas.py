"""The Arrow schema of every shard, derived from the migrated tables, and the check of rows against it.

Only migrations/*.sql define columns; they are not listed here again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

from warehouse.connection import apply_migrations

ARTEFACT_COLUMN = "artefact"  # filled by the loader; tables with this column hold the rows of shards
ITEM_LINKS = {"draft": "draft_item", "prediction": "prediction_item"}  # the loader derives the rows of these tables


@cache
def _read_tables() -> dict[str, tuple[pa.Schema, frozenset[str]]]:
    """Map each row table to its shard schema and to the columns that may not be null."""
    with duckdb.connect() as con:
        apply_migrations(con)
        names = con.execute(
            "SELECT table_name FROM duckdb_columns() WHERE NOT internal AND column_name = ? ORDER BY table_name",
            [ARTEFACT_COLUMN],
        ).fetchall()
        return {name: _describe(con, name) for (name,) in names if name not in ITEM_LINKS.values()}


def _describe(con: DuckDBPyConnection, table: str) -> tuple[pa.Schema, frozenset[str]]:
    schema = con.sql(f"SELECT * EXCLUDE ({ARTEFACT_COLUMN}) FROM {table} LIMIT 0").to_arrow_table().schema
    required = con.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = ? AND NOT is_nullable", [table]
    ).fetchall()
    return pa.schema([_rename_entries(field) for field in schema]), frozenset(name for (name,) in required)


def _rename_entries(field: pa.Field) -> pa.Field:
    """Name list entries as pyarrow does by default, so that the schema equals one written by hand."""
    return pa.field(field.name, pa.list_(field.type.value_type)) if pa.types.is_list(field.type) else field


def list_row_tables() -> list[str]:
    """List the tables whose rows come from Parquet shards."""
    return list(_read_tables())


def make_schema(table: str, *, extra: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Return the schema of a shard of `table`, without `artefact`.

    `extra` adds columns that a shard has but the warehouse does not load, such as {"image": pa.binary()}.
    """
    if table not in _read_tables():
        raise ValueError(f"no table {table!r} holds rows of shards; the tables are {', '.join(list_row_tables())}")
    schema = _read_tables()[table][0]
    if taken := sorted(set(extra or {}) & set(schema.names)):
        raise ValueError(f"the table {table} already has the column {taken[0]!r}; an extra column needs another name")
    return pa.schema([*schema, *(pa.field(name, kind) for name, kind in (extra or {}).items())])


def describe_misfit(found: pa.Schema, table: str) -> str | None:
    """Describe the first column of `table` that a shard with this schema lacks or has with another type, if any."""
    for field in make_schema(table):
        has = found.field(field.name).type if field.name in found.names else "nothing"
        if has != field.type:
            return f"{field.name} is {field.type} in {table}, the shard has {has}"
    return None


def make_blank_row(table: str) -> dict[str, Any]:
    """Return a row of `table` with every column null."""
    return dict.fromkeys(make_schema(table).names)


def check_rows(
    table: str, rows: Sequence[Mapping[str, object]], *, extra: Mapping[str, pa.DataType] | None = None
) -> pa.Table:
    """Turn rows into an Arrow table with the schema of `table`.

    ValueError names the row (counted from 0) and the key that is missing, unknown, null in a column without nulls, or
    of the wrong type.
    """
    schema = make_schema(table, extra=extra)
    names = set(schema.names)
    for number, row in enumerate(rows):
        if missing := [name for name in schema.names if name not in row]:
            raise ValueError(
                f"row {number} of {table} lacks {', '.join(missing)}; give a value for every column, null included"
            )
        if unknown := [str(key) for key in row if key not in names]:
            raise ValueError(
                f"row {number} of {table} has unknown {', '.join(unknown)}; columns: {', '.join(schema.names)}"
            )
    columns = [_make_column(table, field, [row[field.name] for row in rows]) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _make_column(table: str, field: pa.Field, values: list[object]) -> pa.Array:
    """Build one column; if that fails, find the row at fault."""
    try:
        column = pa.array(values, type=field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        number = _find_first_unfit(values, field.type)
        raise ValueError(
            f"row {number} of {table}: {field.name} is {field.type}, got {values[number]!r} ({error})"
        ) from error
    if column.null_count and field.name in _read_tables()[table][1]:
        raise ValueError(f"row {values.index(None)} of {table} has no {field.name}, which may not be null")
    return column


def _find_first_unfit(values: list[object], kind: pa.DataType) -> int:
    for number, value in enumerate(values):
        try:
            pa.array([value], type=kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return number
    raise AssertionError(f"each value fits {kind} alone, but not together")
