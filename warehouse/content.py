"""Hashes the content of artefacts, independent of its bytes; and the bytes of files, to detect damage on the disk.

Two Parquet files with the same rows may differ in their bytes (writer version, row order, row groups), so the content
hash is computed over rows. Independent of tables or artefacts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from warehouse.sql import write_name

ROW_KEY = "row_key"  # a column of shards alone: the name under which a row is found again
# Times and names are not content: the same sample made on a slower machine has the same content.
UNSTABLE_COLUMNS = frozenset(
    {"seconds", "retrieve_seconds", "encode_seconds", "prefill_seconds", "decode_seconds", ROW_KEY}
)
RECORD = "record.json"  # beside the shards of a complete artefact
UNFINISHED = ".partial"
_LANES = 4


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_content(folder: Path, files: Iterable[str]) -> str:
    """Hash the content of an artefact's files: the rows of the Parquet shards, and name and bytes of the others.

    Row order, the split into shards, column order and UNSTABLE_COLUMNS do not matter; a changed, missing or repeated
    row does. Parquet shards are grouped by their columns, because an artefact may hold rows of several tables.
    """
    names = sorted(files)
    parquet = [folder / name for name in names if name.endswith(".parquet")]
    others = [[name, hash_file(folder / name)] for name in names if not name.endswith(".parquet")]
    with duckdb.connect() as con:
        groups: dict[tuple[tuple[str, str], ...], list[Path]] = {}
        for path in parquet:
            groups.setdefault(_read_columns(con, path), []).append(path)
        tables = [[list(columns), *_hash_rows(con, columns, paths)] for columns, paths in sorted(groups.items())]
    return hashlib.sha256(json.dumps({"tables": tables, "files": others}).encode()).hexdigest()


def _read_columns(con: DuckDBPyConnection, path: Path) -> tuple[tuple[str, str], ...]:
    """Return a shard's (name, DuckDB type) pairs in order of name, without the unstable ones."""
    described = con.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    return tuple(sorted((name, kind) for name, kind, *_ in described if name not in UNSTABLE_COLUMNS))


def _hash_rows(con: DuckDBPyConnection, columns: Sequence[tuple[str, str]], paths: Sequence[Path]) -> list[str]:
    """Return the number of rows and the sums of the four 64-bit quarters of the rows' sha256, as text.

    A sum does not depend on order, needs neither a sort nor memory per row, and, unlike xor, counts a row that is there
    twice. string_agg would hold every hash at once. The hash detects accidents, not forgery.
    """
    values = ", ".join(
        f"{name} := " + (f"sha256({name})" if kind == "BLOB" else name)
        for name, kind in ((write_name(name), kind) for name, kind in columns)
    )
    lanes = ", ".join(
        f"coalesce(sum(('0x' || substr(hash, {1 + 16 * lane}, 16))::UBIGINT::HUGEINT), 0)" for lane in range(_LANES)
    )
    query = f"""
        SELECT count(*), {lanes}
        FROM (SELECT sha256(to_json(struct_pack({values}))::VARCHAR) AS hash FROM read_parquet(?))
    """
    return [str(total) for total in con.execute(query, [[str(path) for path in paths]]).fetchall()[0]]
