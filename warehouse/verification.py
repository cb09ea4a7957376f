"""Hashes every shard of the warehouse's artefacts again, and lists those that have changed."""

from __future__ import annotations

from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from warehouse.content import hash_content
from warehouse.places import open_place
from warehouse.records import find_artefact, list_shard_faults


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
