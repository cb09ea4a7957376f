"""Scoring: marks predictions by every metric, aggregates marks into scores with intervals, and compares conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial as bind
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect.artifacts import create_table_artifact

from comem_core.evaluation.agreement import compare_verdicts
from comem_core.evaluation.authors_compat import find_authors_metric
from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.comparison import ComparisonSettings, add_words, compare
from comem_core.evaluation.conditions import find_condition
from comem_core.evaluation.llm_judge import judge_marks, map_verdicts
from comem_core.evaluation.metrics import Measure, Metric
from comem_core.evaluation.scores import COUNTED, Row, Scoring, mark_rows, score_rows
from comem_core.neutral import OFF_AT_NONE
from comem_core.recipes.recipe import EvaluationRecipe
from tasks.data.benchmarks import MISSING, find_benchmark_folder, name_part
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import is_under_prefect, show
from tasks.evaluation.contamination import map_clean_questions, read_measured
from tasks.evaluation.judge import NO_JUDGE, read_judgements
from tasks.rows.tables import read_asked_questions, read_rows
from tasks.run import Run
from warehouse.connection import open_warehouse
from warehouse.page.wording import write_interval
from warehouse.samples.overlap import describe_overlap
from warehouse.schemas import check_rows, make_blank_row
from warehouse.sql import read_report_rows

SCORES = Stage(
    name="scores",
    version="7",
    table="score",
    explained=Explanation(subject="scoring", extent=("conditions", "judge", "unparsable")),
)


# The pairs of conditions that are compared: is the first better than the second?
PAIRS = (
    ("memory", "none"), ("memory", "text"), ("memory", "shuffled"), ("memory", "foreign"), ("memory", "empty"),
    ("gated", "none"), ("gated", "memory"), ("text", "none"), ("oracle", "memory"), ("text_gold", "text"),
)  # fmt: skip
SHARES = ("value", "low", "high")
CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class ScoresKey:
    """Which conditions of a benchmark are scored, and how questions without an answer count.

    With a judge, also the name of its metric, and how unparsable replies count. Metric and statistics belong to the
    benchmark; the version of this stage covers them.
    """

    benchmark: str
    revision: str
    conditions: tuple[str, ...]
    unanswered: str
    judge: str | None = field(default=None, metadata=OFF_AT_NONE)
    unparsable: str | None = field(default=None, metadata=OFF_AT_NONE)


@stage_task(name="score-predictions")
def score_predictions(
    run: Run, questions: Reference, predictions: Reference, contamination: Reference, judgements: Reference = NO_JUDGE
) -> Reference:
    """Mark predictions by every metric, aggregate marks into scores with 95 % intervals, and compare conditions.

    With a judge, also measure how far it agrees with the official metric. If only some questions are in the encoder's
    training data, the clean ones are also scored separately.
    """
    recipe = run.recipe.evaluation
    benchmark = find_benchmark(recipe.benchmark)
    folder = find_benchmark_folder(benchmark, run.context)
    inputs = {"questions": questions, "predictions": predictions, "contamination": contamination}
    if judgements.fingerprint:
        inputs["judgements"] = judgements
    key = _make_key(recipe, benchmark.revision(name_part(recipe), folder))
    make = bind(_write_scores, run, inputs)
    scores = run_stage(run, SCORES, key, inputs, make)
    _show_scores(run, scores, predictions, contamination, benchmark)
    return scores


def _make_key(recipe: EvaluationRecipe, revision: str) -> ScoresKey:
    """Return the part of the recipe that decides scores."""
    return ScoresKey(
        benchmark=recipe.benchmark,
        revision=revision,
        conditions=recipe.conditions,
        unanswered=recipe.unanswered,
        judge=recipe.judge and recipe.judge.metric,
        unparsable=recipe.judge and recipe.judge.unparsable,
    )


def _write_scores(run: Run, inputs: Mapping[str, Reference], artefact: Partial) -> None:
    """Write marks, scores and differences. The marks of the official metric come first, those of a judge last."""
    recipe, questions = run.recipe.evaluation, inputs["questions"]
    benchmark = find_benchmark(recipe.benchmark)
    metrics = _list_metrics(benchmark, find_benchmark_folder(benchmark, run.context))
    answered, asked = list(read_rows(inputs["predictions"])), read_asked_questions(questions.folder)
    clean = map_clean_questions(run, inputs["contamination"], (row["question_id"] for row in asked))
    asked = [row | {CLEAN: clean[row["question_id"]]} for row in asked]
    marks = mark_rows(answered, asked, metrics)
    official = {row["prediction_id"]: row["value"] for row in marks if row["metric"] == metrics[0].name}
    if recipe.judge:
        verdicts = map_verdicts(read_judgements(inputs["judgements"]))
        marks += judge_marks(verdicts, metric=recipe.judge.metric, unparsable=recipe.judge.unparsable)
        sides = {"benchmark": benchmark.name, "first": metrics[0].name, "second": recipe.judge.metric}
        agreed = [sides | row for row in compare_verdicts(answered, official, verdicts)]
        artefact.write_shard("agreement", check_rows("agreement", agreed), rows_of="agreement")
    scoring = Scoring(
        metrics=metrics,
        total=benchmark.total,
        cluster_by=benchmark.cluster_by,
        by=(*benchmark.slices, CLEAN) if {"yes", "no"} <= set(clean.values()) else benchmark.slices,
        unanswered=recipe.unanswered,
        judged=(Measure(name=recipe.judge.metric),) if recipe.judge else (),
    )
    every = [*asked, *_list_not_asked(questions.folder, asked)]
    rows = [convert_to_shares(row) for row in score_rows(answered, every, marks, scoring)]
    named = {"benchmark": benchmark.name, "metric": metrics[0].name, "before": None}
    compared = [named | row for row in _compare_conditions(answered, asked, official, benchmark)]
    artefact.write_shard("marks", check_rows("mark", marks), rows_of="mark")
    artefact.write_shard("differences", check_rows("difference", compared), rows_of="difference")
    artefact.write_shard("part-00000", check_rows("score", rows))


def _list_metrics(benchmark: Benchmark, folder: Path | None) -> tuple[Metric, ...]:
    """Return the benchmark's metrics, the official one first, and the metric of CoMEM's authors if they have one."""
    compatible = find_authors_metric(benchmark.name, folder)
    return (*benchmark.metrics(folder), *([compatible] if compatible else []))


def _list_not_asked(questions: Path, asked: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the questions that could not be asked, as rows without an answer, which a score's coverage counts.

    A question of unknown split is left out, unless the benchmark has only one split.
    """
    path = questions / f"{MISSING}.parquet"
    splits = {row["split"] for row in asked}
    only = next(iter(splits)) if len(splits) == 1 else None
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    blank = make_blank_row("question") | {CLEAN: None}
    known = {row["question_id"] for row in asked}
    found = {row["question_id"]: row["split"] or only for row in rows if row["question_id"] not in known}
    return [blank | {"question_id": each, "split": split} for each, split in found.items() if split is not None]


def _compare_conditions(
    answered: Sequence[Row], asked: Sequence[Row], marks: Mapping[str, float], benchmark: Benchmark
) -> list[dict[str, Any]]:
    """Compare the conditions that were asked, in pairs, at each k; a condition without k has one set of marks."""
    sides: dict[tuple[str, int], dict[str, float]] = {}
    for row in answered:
        sides.setdefault((row["condition"], row["k"]), {})[row["question_id"]] = marks[row["prediction_id"]]
    comparing = ComparisonSettings(total=benchmark.total, cluster_by=benchmark.cluster_by)
    families: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for (first, second), k in product(PAIRS, sorted({k for _, k in sides})):
        one, other = _find_side(sides, first, k), _find_side(sides, second, k)
        if one is None or other is None:
            continue
        for row in compare(one, other, asked, comparing):
            families.setdefault((k, row["split"]), []).append(row | {"first": first, "second": second, "k": k})
    return [convert_to_shares(row) for family in families.values() for row in add_words(family)]


def _find_side(sides: Mapping[tuple[str, int], dict[str, float]], condition: str, k: int) -> dict[str, float] | None:
    """Return the marks of a condition at k; a condition without k has only one set of marks."""
    if find_condition(condition).shows_k:
        return sides.get((condition, k))
    return next((marks for (name, _), marks in sides.items() if name == condition), None)


def convert_to_shares(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert percent to shares of 1, as the warehouse holds them; a `difference` becomes a `value`."""
    row = {("value" if name == "difference" else name): value for name, value in row.items()}
    return row | {name: None if row[name] is None else row[name] / 100 for name in SHARES}


def _show_scores(
    run: Run, scores: Reference, predictions: Reference, contamination: Reference, benchmark: Benchmark
) -> None:
    """Show the scores in the Prefect UI, with those of clean questions, the number of questions trained on, and the
    ranks at which retrieval has the gold items.
    """
    if not is_under_prefect():
        return
    rows = [row for row in read_rows(scores) if is_shown(row["split"]) and row["metric"] not in COUNTED]
    alone = {_name_line(row): row["value"] for row in read_rows(scores) if row["metric"] == "gated"}
    lines = [_make_score_line(row, alone.get(_name_line(row))) for row in rows]
    sentences = "; ".join(describe_overlap(read_measured(run, contamination)))
    read_by = f", read by {run.recipe.read_by}" if run.recipe.read_by else ""
    description = f"{benchmark.name}{read_by}, percent, with 95 % intervals. {sentences}"
    show(create_table_artifact, lines, key=f"scores-{benchmark.name}", description=description)
    with open_warehouse(run.context.warehouse, read_only=True) as con:
        found = read_report_rows(con, "found_at_rank", {"predictions": predictions.fingerprint})
    if found:
        asked = f"{found[0]['num_questions']} questions of {benchmark.name}"
        show(
            create_table_artifact,
            [_make_rank_line(row) for row in found],
            key=f"found-{benchmark.name}",
            description=f"At which rank retrieval has the right item, of {asked} that have one in the knowledge",
        )


def is_shown(split: str) -> bool:
    """Tell whether a part is a whole split or its clean questions, rather than a slice by language or attribute."""
    return "/" not in split or f"/{CLEAN}=" in split


def _make_rank_line(row: Mapping[str, Any]) -> dict[str, Any]:
    within = round(100 * row["found_within"], 1)
    return {
        "language": row["language"] or "all",
        "rank": row["rank"],
        "found here": row["num_found"],
        "here or before, percent": within,
    }


def _name_line(row: Mapping[str, Any]) -> tuple[str, int, str]:
    return row["condition"], row["k"], row["split"]


def _make_score_line(row: Mapping[str, Any], alone: float | None) -> dict[str, Any]:
    return {
        "condition": row["condition"],
        "k": row["k"],
        "split": row["split"],
        "metric": row["metric"],
        "score": round(100 * row["value"], 1),
        "95 % interval": write_interval(row["low"], row["high"]),
        "n": row["n"],
        "prompt tokens": round(row["prompt_tokens_mean"] or 0, 1),
        "gated, percent": "" if alone is None else round(100 * alone, 1),
    }
