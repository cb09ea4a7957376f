"""Hashes every shard of the warehouse's artefacts again, and lists those that have changed; counts the rows of each."""

from __future__ import annotations

from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from warehouse.content import hash_content
from warehouse.places import open_place
from warehouse.records import find_artefact, list_shard_faults
from warehouse.schemas import ARTEFACT_COLUMN, list_row_tables


@dataclass(frozen=True)
class Checked:
    """An artefact whose shards were hashed again; `faults` is empty if none has changed."""

    fingerprint: str
    stage: str
    num_shards: int
    faults: tuple[str, ...]


def verify_artefacts(con: DuckDBPyConnection, *, content: bool = False) -> list[Checked]:
    """Check the shards of every artefact against their recorded sha256; with `content`, also the hash of their rows."""
    names = con.execute("SELECT fingerprint FROM artefact ORDER BY stage, created, fingerprint").fetchall()
    return [_check(con, fingerprint, content=content) for (fingerprint,) in names]


def _check(con: DuckDBPyConnection, fingerprint: str, *, content: bool) -> Checked:
    record = find_artefact(con, fingerprint)
    assert record is not None, fingerprint
    with open_place(record["uri"]) as folder:
        faults = list_shard_faults(record["shards"], folder)
        if content and not faults:
            found = hash_content(folder, [shard["file"] for shard in record["shards"]])
            if found != record["content_sha256"]:
                faults.append(f"the content hash is {found[:12]}…, recorded {record['content_sha256'][:12]}…")
    return Checked(fingerprint, record["stage"], len(record["shards"]), tuple(faults))


def count_rows(con: DuckDBPyConnection) -> dict[str, dict[str, int]]:
    """Count the rows that the warehouse has of each artefact, by table; also those whose artefact it does not know."""
    found: dict[str, dict[str, int]] = {}
    for table in list_row_tables():
        counted = f"SELECT {ARTEFACT_COLUMN}, count(*) FROM {table} GROUP BY 1"
        for fingerprint, number in con.execute(counted).fetchall():
            found.setdefault(fingerprint, {})[table] = number
    return found


def list_known(con: DuckDBPyConnection) -> dict[str, tuple[str, str | None]]:
    """Map each artefact that the warehouse knows of to its stage and its place; None if only a run names it."""
    named = con.execute("SELECT DISTINCT fingerprint, stage FROM run_stage WHERE action <> 'failed'").fetchall()
    known = con.execute("SELECT fingerprint, stage, uri FROM artefact").fetchall()
    found: dict[str, tuple[str, str | None]] = {name: (stage, None) for name, stage in named}
    return found | {name: (stage, uri) for name, stage, uri in known}
