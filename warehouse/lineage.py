"""Answers "what was this made from" and "what was made from this", for artefacts and for single rows.

Each answer is one SQL query (warehouse/reports/artefacts_*.sql, lineage_of_*.sql).
"""

from __future__ import annotations

from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from warehouse.sql import read_report_rows


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
