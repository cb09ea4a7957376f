"""Answers "what was this made from", "what was made from this", "what rests on these" and "on what does nothing rest".

Each answer is one query of warehouse/reports (artefacts_*, lineage_of_*, dependents, unneeded_artefacts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from duckdb import DuckDBPyConnection

from warehouse.sql import read_report_rows

COLUMNS = {"item": "item_id", "image": "image_id", "licence": "licence", "source": "source"}
GONE = "gone"
MOST_NAMED = 8
ALIVE = timedelta(days=30)
"""How long a run that never ended is taken for one that goes on, after its last finished stage."""


@dataclass(frozen=True)
class Edge:
    """An artefact and one of its inputs; a stage is None if no artefact is registered under that fingerprint."""

    fingerprint: str
    stage: str | None
    role: str
    input_fingerprint: str
    input_stage: str | None


@dataclass(frozen=True)
class Link:
    """One thing in a row's lineage. `place` is a rank or a bank's row; `total` counts the things of this kind."""

    kind: str
    id: str
    artefact: str | None
    place: int | None
    value: float | None
    detail: str | None
    total: int


@dataclass(frozen=True)
class Dependent:
    """An artefact that rests on chosen items, and why. `num_rows` counts its rows with them (None: it has none).

    `num_items` is the number of chosen items, `last_run` the run that used the artefact last.
    """

    stage: str
    fingerprint: str
    why: str
    num_rows: int | None
    num_items: int
    last_run: str | None


@dataclass(frozen=True)
class Unneeded:
    """An artefact that may be removed. `last_used` is when a run last used it, or something that was made from it; or,
    of an unfinished one, when it last grew."""

    fingerprint: str
    stage: str
    uri: str
    num_bytes: int
    last_used: datetime
    is_finished: bool = True


def trace_upward(con: DuckDBPyConnection, *fingerprints: str) -> list[Edge]:
    """Return every edge above the artefacts: their inputs, the inputs of these, and so on."""
    return [Edge(**row) for row in read_report_rows(con, "artefacts_upward", {"fingerprints": list(fingerprints)})]


def trace_downward(con: DuckDBPyConnection, *fingerprints: str) -> list[Edge]:
    """Return every edge below the artefacts: what was made from them, what was made from that, and so on."""
    return [Edge(**row) for row in read_report_rows(con, "artefacts_downward", {"fingerprints": list(fingerprints)})]


def trace_prediction(con: DuckDBPyConnection, prediction_id: str, *, limit: int | None = None) -> list[Link]:
    """Return what a prediction was made from: question, items, bank, encoder, and the encoder's training samples."""
    return _trace(con, "prediction", prediction_id, limit)


def trace_item(con: DuckDBPyConnection, item_id: str, *, limit: int | None = None) -> list[Link]:
    """Return every draft, drop, sample, encoder, bank and prediction that used a knowledge item."""
    return _trace(con, "item", item_id, limit)


def trace_draft(con: DuckDBPyConnection, sample_id: str, *, limit: int | None = None) -> list[Link]:
    """Return the history of a draft: its items, verdict, drop reasons or samples, and the encoders trained on it."""
    return _trace(con, "draft", sample_id, limit)


def find_dependents(con: DuckDBPyConnection, by: str, values: Sequence[str] = ()) -> list[Dependent]:
    """Return every artefact that rests on the items, in the order in which they were made.

    `by` says what `values` are: ids of items or of their pictures, licences, or sources. `gone` chooses the items that
    the latest artefact of their corpus lacks; it is empty if there are none.

    Raises ValueError for a value that no item has.
    """
    if by != GONE:
        _refuse_unknown(con, by, values)
    return [Dependent(**row) for row in read_report_rows(con, "dependents", {"by": by, "values": list(values)})]


def find_items(con: DuckDBPyConnection, by: str, values: Sequence[str]) -> list[str]:
    """Return the ids of the items that have one of these values, in order. Raises ValueError for one that none has."""
    _refuse_unknown(con, by, values)
    query = f"SELECT DISTINCT item_id FROM knowledge_item WHERE list_contains(?, {COLUMNS[by]}) ORDER BY 1"
    return [item_id for (item_id,) in con.execute(query, [list(values)]).fetchall()]


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


def refuse_unknown_ids(con: DuckDBPyConnection, ids: Sequence[str]) -> None:
    """Raise ValueError for ids that name neither an artefact nor a run, so that a slip removes nothing."""
    query = "SELECT unnest($ids) EXCEPT (SELECT fingerprint FROM artefact UNION SELECT run_id FROM run)"
    if unknown := sorted(name for (name,) in con.execute(query, {"ids": list(ids)}).fetchall()):
        raise ValueError(f"the warehouse has neither an artefact nor a run {', '.join(map(repr, unknown))}")


def find_kind(con: DuckDBPyConnection, identifier: str) -> str:
    """Return what an id names: artefact, run, prediction, item or draft; ValueError if nothing has this id."""
    found = read_report_rows(con, "kind_of", {"id": identifier})
    if not found:
        raise ValueError(f"nothing in the warehouse has the id {identifier!r} (artefact, run, prediction, item, draft)")
    return found[0]["kind"]


def _trace(con: DuckDBPyConnection, kind: str, identifier: str, limit: int | None) -> list[Link]:
    found = read_report_rows(con, f"lineage_of_{kind}", {"id": identifier, "limit": limit})
    if not found or found[0]["kind"] != kind:
        raise ValueError(f"the warehouse has no {kind} {identifier!r}")
    return [Link(**row) for row in found]


def _refuse_unknown(con: DuckDBPyConnection, by: str, values: Sequence[str]) -> None:
    query = f"SELECT DISTINCT {COLUMNS[by]} FROM knowledge_item WHERE {COLUMNS[by]} IS NOT NULL ORDER BY 1"
    known = [name for (name,) in con.execute(query).fetchall()]
    if unknown := [each for each in values if each not in set(known)]:
        has = f"; there are {', '.join(map(repr, known[:MOST_NAMED]))}" if by in ("licence", "source") and known else ""
        more = f" and {len(known) - MOST_NAMED} more" if has and len(known) > MOST_NAMED else ""
        raise ValueError(f"no knowledge item has the {COLUMNS[by]} {', '.join(map(repr, unknown))}{has}{more}")
