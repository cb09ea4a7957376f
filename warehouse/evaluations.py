"""Evaluations: the artefacts of each one, and the one before it in its series. Owns the table evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.connection import open_transaction
from warehouse.sql import read_report_rows

KEYS = ("run_id", "recipe_name", "encoder_name", "benchmark", "encoder", "questions", "predictions", "scores")
# The weights that answered, and the name of the text-only model (null if the encoder's own backbone answered).
READER_KEYS = ("reader", "reader_name")


def record_evaluation(con: DuckDBPyConnection, evaluation: Mapping[str, str | None]) -> None:
    """Record an evaluation, with `KEYS`, and `READER_KEYS` if they are known; recording it again replaces it.

    Raises ValueError for a missing key.
    """
    if missing := [key for key in KEYS if key not in evaluation]:
        raise ValueError(f"an evaluation lacks {', '.join(missing)}; it has {', '.join(evaluation)}")
    with open_transaction(con):
        keys = (*KEYS, *READER_KEYS)
        con.execute(
            f"INSERT OR REPLACE INTO evaluation ({', '.join(keys)}, made) VALUES ({', '.join('?' * len(keys))}, ?)",
            [*(evaluation.get(key) for key in keys), datetime.now(UTC)],
        )


def list_evaluations(con: DuckDBPyConnection, run_id: str) -> list[dict[str, Any]]:
    """List the evaluations of a run in the order in which they were made."""
    return _read_rows(con, "run_id = ?", [run_id])


def read_marks(con: DuckDBPyConnection, run_id: str, *, metric: str) -> list[dict[str, Any]]:
    """Read the marks that a metric gave a run's answers: rows of the report `official_marks`, with `benchmark`."""
    return [
        row | {"benchmark": evaluation["benchmark"]}
        for evaluation in list_evaluations(con, run_id)
        for row in read_report_rows(con, "official_marks", evaluation | {"official": metric})
    ]


def find_evaluation_before(
    con: DuckDBPyConnection,
    evaluation: Mapping[str, str | None],
    *,
    is_there: Callable[[Mapping[str, Any]], bool] = lambda before: True,
) -> dict[str, Any] | None:
    """Find the last evaluation of another run in its series: with the same recipe, encoder name, benchmark, reader
    name, corpus and models, of those that are there.

    A corpus is the same one by its address, whatever was edited in it, or by its items, wherever they have moved; a
    backbone or a text-only reader by its name or folder, or by its weights.
    """
    found = _read_rows(
        con,
        "recipe_name = ? AND encoder_name = ? AND benchmark = ? AND run_id <> ? AND reader_name IS NOT DISTINCT FROM ?",
        [evaluation.get(key) for key in ("recipe_name", "encoder_name", "benchmark", "run_id", "reader_name")],
    )
    return next(
        (
            each
            for each in reversed(found)
            if find_other_corpora(con, each, evaluation) is None
            and not has_other_models(con, each, evaluation)
            and is_there(each)
        ),
        None,
    )


def find_other_corpora(
    con: DuckDBPyConnection, before: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Return the addresses of the corpora of two evaluations; None if they have one corpus, or one is not recorded."""
    old, new = (find_corpus(con, each) for each in (before, now))
    if old is None or new is None or old == new:
        return None
    return None if _have_same_input(con, before, now, "knowledge") else (old, new)


def has_other_models(con: DuckDBPyConnection, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tell whether two evaluations have models of two names or folders, and other weights, in one role."""
    for role in ("backbone", "reader"):
        old, new = (_read_field(con, each, f"$.{role}.name") for each in (before, now))
        if None not in (old, new) and old != new and not _have_same_input(con, before, now, role):
            return True
    return False


def find_corpus(con: DuckDBPyConnection, evaluation: Mapping[str, Any]) -> str | None:
    """Return the address of the corpus that an evaluation's run read; None if its recipe was not recorded."""
    return _read_field(con, evaluation, "$.knowledge.corpus")


def _read_field(con: DuckDBPyConnection, evaluation: Mapping[str, Any], path: str) -> str | None:
    """Return a field of the recipe that an evaluation's run recorded; None without one."""
    found = con.execute("SELECT recipe ->> ? FROM run WHERE run_id = ?", [path, evaluation["run_id"]]).fetchone()
    return found[0] if found else None


def _have_same_input(con: DuckDBPyConnection, before: Mapping[str, Any], now: Mapping[str, Any], role: str) -> bool:
    """Tell whether the answers of two evaluations were made from the same artefact in a role."""
    query = "SELECT input_fingerprint FROM artefact_input WHERE fingerprint = ? AND role = ?"
    old, new = (con.execute(query, [each["predictions"], role]).fetchone() for each in (before, now))
    return old is not None and old == new


def find_moment(con: DuckDBPyConnection, evaluation: Mapping[str, Any]) -> datetime:
    """Return the time at which an evaluation was made. Raises ValueError if it was not recorded."""
    query = "SELECT made FROM evaluation WHERE run_id = ? AND encoder_name = ? AND benchmark = ?"
    found = con.execute(query, [evaluation[key] for key in ("run_id", "encoder_name", "benchmark")]).fetchone()
    if found is None:
        raise ValueError(f"no evaluation of {evaluation['encoder_name']} was recorded in run {evaluation['run_id']}")
    return found[0]


def _read_rows(con: DuckDBPyConnection, condition: str, values: list[str | None]) -> list[dict[str, Any]]:
    cursor = con.execute(f"SELECT * FROM evaluation WHERE {condition} ORDER BY made, benchmark", values)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
