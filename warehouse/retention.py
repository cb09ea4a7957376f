"""Finds the artefacts on which nothing rests that is kept, and forgets those that were removed from the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from duckdb import DuckDBPyConnection

from warehouse.connection import open_transaction
from warehouse.records import forget_rows
from warehouse.sql import read_report_rows

ALIVE = timedelta(days=30)
"""How long a run that never ended is taken for one that goes on, after its last finished stage."""


@dataclass(frozen=True)
class Unneeded:
    """An artefact that may be removed. `last_used` is when a run last used it, or something that was made from it."""

    fingerprint: str
    stage: str
    uri: str
    num_bytes: int
    last_used: datetime


def list_unneeded(
    con: DuckDBPyConnection, *, now: datetime, keep_runs: int, keep_for: timedelta, keep: Sequence[str] = ()
) -> list[Unneeded]:
    """Return the artefacts that may be removed, longest unused first; none comes behind something it was made from.

    Kept are the last `keep_runs` completed runs of each flow, recipe and corpus, runs that go on, what was used within
    `keep_for`, the artefacts and runs with an id in `keep`, and all that these were made from.
    """
    parameters = {
        "keep_runs": keep_runs,
        "keep": list(keep),
        "unused_since": now - keep_for,
        "alive_since": now - ALIVE,
    }
    return [Unneeded(**row) for row in read_report_rows(con, "unneeded_artefacts", parameters)]


def refuse_unknown(con: DuckDBPyConnection, ids: Sequence[str]) -> None:
    """Raise ValueError for ids that name neither an artefact nor a run, so that a slip removes nothing."""
    query = "SELECT unnest($ids) EXCEPT (SELECT fingerprint FROM artefact UNION SELECT run_id FROM run)"
    if unknown := sorted(name for (name,) in con.execute(query, {"ids": list(ids)}).fetchall()):
        raise ValueError(f"the warehouse has neither an artefact nor a run {', '.join(map(repr, unknown))}")


def forget_artefact(con: DuckDBPyConnection, fingerprint: str) -> None:
    """Delete an artefact and its rows; the runs that used it keep their own rows."""
    with open_transaction(con):
        forget_rows(con, fingerprint)
        con.execute("DELETE FROM artefact WHERE fingerprint = ?", [fingerprint])
