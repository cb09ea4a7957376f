"""Evaluations in a series: each is recorded, compared with the one before it, and the reasons are told.

A series is one encoder by the name it was asked for (`latest`, a fingerprint, a folder) on one benchmark.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from comem_core.evaluation.benchmarks.registry import benchmark_named
from comem_core.evaluation.comparison import Comparing, compare, with_words
from comem_core.evaluation.scores import Row
from tasks.partial import Partial
from tasks.plan import being_planned
from tasks.rows import read_rows
from tasks.run import Run
from tasks.score import as_shares, asked_questions
from tasks.stage import run_stage, stage_logger, stage_task
from tasks.store import Reference
from warehouse.changes import Change, changed_inputs, changes_between, recipe_differences
from warehouse.connection import open_warehouse
from warehouse.evaluations import evaluation_before, record_evaluation
from warehouse.page.comparison import Compared, render_comparison, whole_of
from warehouse.records import find_artefact
from warehouse.schemas import check_rows
from warehouse.sql import rows

PAGE, REASONS, DIFFERENCES = "comparison.html", "reasons.json", "part-00000"
NUM_ANSWERS = 60


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One encoder on one benchmark: what it was asked, what it answered, how that was scored."""

    name: str
    benchmark: str
    encoder: Reference
    questions: Reference
    predictions: Reference
    scores: Reference

    def row(self, run: Run) -> dict[str, str]:
        """The row of the table evaluation."""
        references = {role: getattr(self, role) for role in ("encoder", "questions", "predictions", "scores")}
        named = {"run_id": run.run_id, "recipe_name": run.recipe_name, "benchmark": self.benchmark}
        made = {role: reference.fingerprint for role, reference in references.items()}
        return named | {"encoder_name": self.name} | made


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What became of an evaluation since the one before: rows of the table difference, and the reasons."""

    evaluation: Evaluation
    differences: tuple[dict[str, Any], ...]
    changes: tuple[Change, ...]
    inputs: tuple[str, ...]
    page: Path

    @property
    def causes(self) -> list[Change]:
        """The changes that can move an answer."""
        return [change for change in self.changes if not change.extent]

    def moved(self, *, min_points: float) -> list[dict[str, Any]]:
        """The differences over the whole benchmark that chance does not explain, of at least so many points."""
        whole = whole_of(self.differences)
        return [
            row
            for row in self.differences
            if row["split"] == whole and row["word"] != "tied" and abs(100 * row["value"]) >= min_points
        ]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison tells of two evaluations, by what was answered and how it was scored."""

    benchmark: str
    name: str
    before: str
    before_scores: str


@stage_task(name="compare-with-last")
def compare_with_last(run: Run, evaluation: Evaluation) -> Drift | None:
    """Record an evaluation and compare it with the one before it in its series; None where it is the first.

    The page and the reasons are an artefact; the differences are rows of the warehouse.
    """
    if being_planned() is not None:
        return None
    with open_warehouse(run.context.warehouse) as con:
        record_evaluation(con, evaluation.row(run))
        before = evaluation_before(con, evaluation.row(run))
    if before is None:
        stage_logger().info("%s on %s: the first evaluation", evaluation.name, evaluation.benchmark)
        return None
    part = Comparison(
        benchmark=evaluation.benchmark,
        name=Path(evaluation.name).name,
        before=before["predictions"],
        before_scores=before["scores"],
    )

    def make(artefact: Partial) -> None:
        _write(run, artefact, evaluation, before)

    inputs = {"questions": evaluation.questions, "predictions": evaluation.predictions, "scores": evaluation.scores}
    made = run_stage(run, "comparison", part, inputs, make, table="difference", version="1")
    drift = _read(evaluation, made)
    _tell(drift)
    return drift


def _write(run: Run, artefact: Partial, evaluation: Evaluation, before: dict[str, Any]) -> None:
    now = evaluation.row(run)
    with open_warehouse(run.context.warehouse, read_only=True) as con:
        earlier = {role: find_artefact(con, before[role]) for role in ("predictions", "scores")}
        changes = [
            change for role in ("predictions", "scores") for change in changes_between(con, before[role], now[role])
        ]
        inputs = changed_inputs(con, before["predictions"], now["predictions"])
        fields = recipe_differences(con, before["run_id"], run.run_id)
        wanted = {"before": before["predictions"], "now": now["predictions"], "questions": now["questions"]}
        answers = rows(con, "changed_answers", wanted | {"limit": NUM_ANSWERS})
        made = con.execute("SELECT made FROM evaluation WHERE run_id = ? LIMIT 1", [run.run_id]).fetchone()
    assert earlier["predictions"] and earlier["scores"] and made
    _, old = official_marks(Path(earlier["predictions"]["uri"]), Path(earlier["scores"]["uri"]))
    metric, new = official_marks(evaluation.predictions.folder, evaluation.scores.folder)
    asked = asked_questions(evaluation.questions)
    found = differences_of(new, old, asked, benchmark=evaluation.benchmark, metric=metric)
    named = [row | {"before": before["predictions"]} for row in found]
    compared = Compared(
        benchmark=evaluation.benchmark,
        before=before,
        now=now | {"made": made[0]},
        differences=named,
        changes=sorted(set(changes)),
        inputs=inputs,
        fields=fields,
        answers=answers,
    )
    with artefact.open_file(PAGE) as path:
        path.write_text(render_comparison(compared, images=pictures_of(evaluation.questions)), encoding="utf-8")
    reasons = {"changes": [asdict(change) for change in compared.changes], "inputs": inputs}
    with artefact.open_file(REASONS) as path:
        path.write_text(json.dumps(reasons, ensure_ascii=False, indent=1), encoding="utf-8")
    artefact.write_shard(DIFFERENCES, check_rows("difference", named))


Marks = Mapping[tuple[str, int], Mapping[str, float]]


def official_marks(predictions: Path, scores: Path) -> tuple[str, Marks]:
    """The official metric and its marks of an evaluation: (condition, k) -> question id -> mark from 0 to 1.

    The official metric marks every prediction first.
    """
    listed = pq.read_table(scores / "marks.parquet").to_pylist()
    official = listed[0]["metric"] if listed else ""
    value = {row["prediction_id"]: row["value"] for row in listed if row["metric"] == official}
    marks: dict[tuple[str, int], dict[str, float]] = {}
    for path in sorted(predictions.glob("part-*.parquet")):
        for row in pq.read_table(path, columns=["prediction_id", "question_id", "condition", "k"]).to_pylist():
            marks.setdefault((row["condition"], row["k"]), {})[row["question_id"]] = value[row["prediction_id"]]
    return official, marks


def differences_of(
    now: Marks, before: Marks, questions: Sequence[Row], *, benchmark: str, metric: str
) -> list[dict[str, Any]]:
    """Compare two evaluations condition by condition: rows of the table difference, in shares, without `before`.

    p-values are adjusted over everything that is compared (Holm).
    """
    known = benchmark_named(benchmark)
    comparing = Comparing(total=known.total, cluster_by=known.cluster_by)
    family = [
        row | {"benchmark": benchmark, "metric": metric, "first": condition, "second": condition, "k": k}
        for (condition, k), marks in sorted(now.items())
        if (condition, k) in before and marks.keys() & before[condition, k].keys()
        for row in compare(marks, before[condition, k], questions, comparing)
    ]
    return [as_shares(row) for row in with_words(family)]


def pictures_of(questions: Reference) -> Callable[[str], bytes | None]:
    """Return what finds a picture among those of the questions by its id."""
    found = {row["image_id"]: row["image"] for row in read_rows(questions, "question")}
    return found.get


def _read(evaluation: Evaluation, made: Reference) -> Drift:
    reasons = json.loads((made.folder / REASONS).read_text(encoding="utf-8"))
    return Drift(
        evaluation=evaluation,
        differences=tuple(read_rows(made)),
        changes=tuple(Change(**change) for change in reasons["changes"]),
        inputs=tuple(reasons["inputs"]),
        page=made.folder / PAGE,
    )


def _tell(drift: Drift) -> None:
    """Say in the log what moved by how much, how surely, on which questions, and why."""
    evaluation, logger = drift.evaluation, stage_logger()
    whole = whole_of(drift.differences)
    for row in drift.differences:
        if row["split"] == whole:
            interval = "" if row["low"] is None else f" ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
            logger.info(
                "%s on %s, %s k=%s: %s, %+.1f points%s, p = %.3f, %d of %d answers changed",
                *(evaluation.name, evaluation.benchmark, row["first"], row["k"], row["word"]),
                *(100 * row["value"], interval, row["p_adjusted"], row["changed"], row["n"]),
            )
    for change in drift.causes:
        logger.info("changed since the last time: %s", change)
    logger.info("comparison page: %s", drift.page.as_uri())
