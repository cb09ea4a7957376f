"""The sources of rows for a query in SQL (Parquet files, or artefacts of a warehouse), and a database to run it in.

Independent of the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from duckdb import DuckDBPyConnection

from warehouse.connection import apply_migrations
from warehouse.schemas import make_schema
from warehouse.sql import list_sql_names, read_sql, write_literal

MEMORY_LIMIT = "2GB"  # for queries in memory; above it DuckDB spills to a temporary directory

Source = Sequence[str | Path]  # fingerprints of registered artefacts (str) or Parquet files (Path)


@contextmanager
def open_warehouse_in_memory() -> Iterator[DuckDBPyConnection]:
    """Yield an empty warehouse in memory that spills to a temporary directory."""
    with TemporaryDirectory(prefix="comem-query-") as folder, closing(duckdb.connect()) as memory:
        memory.execute(
            f"SET memory_limit = {write_literal(MEMORY_LIMIT)}; SET temp_directory = {write_literal(folder)}"
        )
        apply_migrations(memory)
        yield memory


def define_macros(con: DuckDBPyConnection) -> None:
    """Define the macros for texts and pictures (warehouse/macros/*.sql) for this connection."""
    for name in list_sql_names("macros"):
        con.execute(read_sql("macros", name))


def write_rows_query(con: DuckDBPyConnection, table: str, source: Source, *, may_be_empty: bool = False) -> str:
    """Write the query that reads a table's rows from a source.

    ValueError for an artefact that is not registered, and, unless it `may_be_empty`, for an empty source.
    """
    columns = ", ".join(f'"{name}"' for name in make_schema(table).names)
    files = [str(part) for part in source if isinstance(part, Path)]
    fingerprints = [part for part in source if isinstance(part, str)]
    parts = [f"SELECT {columns} FROM read_parquet({write_literal(files)})"] if files else []
    if fingerprints or may_be_empty:
        database = con.execute("SELECT current_database()").fetchall()[0][0]
        known = con.execute(f'SELECT fingerprint FROM "{database}".main.artefact').fetchall()
        if unknown := sorted(set(fingerprints) - {name for (name,) in known}):
            raise ValueError(f"no artefact {', '.join(unknown)} is registered to take the {table} rows from")
        named = write_literal(fingerprints)
        parts.append(f'SELECT {columns} FROM "{database}".main.{table} WHERE list_contains({named}, artefact)')
    if not parts:
        raise ValueError(f"no artefact or file was given for the {table} rows")
    return " UNION ALL ".join(parts)
