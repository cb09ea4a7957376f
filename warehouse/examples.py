"""Examples of a run: questions, chosen by no answer, with what was answered from memory and without it."""

from __future__ import annotations

from duckdb import DuckDBPyConnection

from warehouse.sql import read_report_rows


def collect_examples(con: DuckDBPyConnection, run_id: str, *, num: int) -> list[dict]:
    """Return the first questions that the run's page shows, each with its answers under `memory` and `none`, or None.

    Their order is that of a hash of their ids.
    """
    asked = read_report_rows(con, "gallery_questions", {"run_id": run_id, "limit": num})
    wanted = {"run_id": run_id, "questions": [each["question_id"] for each in asked]}
    answers = read_report_rows(con, "gallery_answers", wanted) if asked else []
    by_place = {(each["benchmark"], each["question_id"], each["condition"]): each for each in answers}
    return [
        each | {name: by_place.get((each["benchmark"], each["question_id"], name)) for name in ("memory", "none")}
        for each in asked
    ]
