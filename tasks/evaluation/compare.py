"""Comparison of evaluations in a series: each is recorded and compared with the one before it, with the reasons.

A series is one encoder, by the name the user gave (`latest`, a fingerprint, a folder), on one benchmark with one corpus
and one reader: the encoder's own backbone, or a text-only model by name.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from comem_core.addresses.copies import open_folder
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.comparison import ComparisonSettings, add_words, compare
from comem_core.evaluation.scores import Row
from comem_core.knowledge.corpus_names import name_corpora
from comem_core.serving.layout import KNOWLEDGE_STAGE
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger
from tasks.evaluation.page_links import name_page
from tasks.evaluation.score import convert_to_shares
from tasks.rows.tables import list_question_shards, read_asked_questions
from tasks.run import Run
from warehouse.changes import Change, describe_two_things, list_changed_inputs, list_changes, list_recipe_differences
from warehouse.connection import open_warehouse
from warehouse.declared import read_conditions
from warehouse.evaluations import find_evaluation_before, find_moment, find_other_corpora, record_evaluation
from warehouse.page.comparison import Compared, name_whole, render_comparison
from warehouse.page.wording import ConditionWords, write_interval, write_points, write_verdict
from warehouse.places import find_place
from warehouse.schemas import check_rows
from warehouse.sql import read_report_rows

COMPARISON = Stage(name="comparison", version="2", table="difference")
PAGE, REASONS, DIFFERENCES = "comparison.html", "reasons.json", "part-00000"
NUM_ANSWERS = 60
ROLES = ("questions", "predictions", "scores")
# The name in a series of the encoder that the run itself trained.
TRAINED = "trained"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One encoder on one benchmark: its bank, the questions, the answers and the scores.

    `reader_name` is the text-only model or the engine that answered, if the run had one; `compare_with_last` sets it.
    """

    name: str
    benchmark: str
    encoder: Reference
    bank: Reference
    questions: Reference
    predictions: Reference
    scores: Reference
    reader_name: str | None = None

    def __str__(self) -> str:
        read_by = f", read by {self.reader_name}," if self.reader_name else ""
        return f"{self.name}{read_by} on {self.benchmark}"

    def make_row(self, run: Run) -> dict[str, str | None]:
        """Return the evaluation as a row of the warehouse's table `evaluation`."""
        references = {role: getattr(self, role) for role in ("encoder", *ROLES)}
        named = {"run_id": run.run_id, "recipe_name": run.recipe_name, "benchmark": self.benchmark}
        made = {role: reference.fingerprint for role, reference in references.items()}
        read_by = {"reader": run.answers.fingerprint, "reader_name": self.reader_name}
        return named | {"encoder_name": self.name} | made | read_by


@dataclass(frozen=True, kw_only=True)
class Since:
    """How an evaluation compares with the one before it.

    `compared` and `page` are None if there was none before, or, with `unchanged`, if that one has the same answers and
    scores.
    """

    evaluation: Evaluation
    metric: str
    compared: Compared | None = None
    page: Path | None = None
    unchanged: bool = False

    def list_moved(self, *, min_points: float) -> list[dict[str, Any]]:
        """Return the differences over the whole benchmark of at least `min_points` that are not tied."""
        rows = self.compared.differences if self.compared else ()
        whole = name_whole(rows)
        return [
            row
            for row in rows
            if row["split"] == whole and row["word"] != "tied" and abs(100 * row["value"]) >= min_points
        ]


@dataclass(frozen=True, kw_only=True)
class ComparisonKey:
    """The earlier evaluation of a comparison, by its answers and scores; the later one is the input."""

    benchmark: str
    name: str
    before: str
    before_scores: str


@stage_task(name="compare-with-last")
def compare_with_last(run: Run, evaluation: Evaluation) -> Since:
    """Record an evaluation and compare it with the one before it in its series, of those whose answers and scores are
    in the same store: a warehouse may know the runs of several.

    The page and the reasons are an artefact; the differences are rows of the warehouse.
    """
    benchmark = find_benchmark(evaluation.benchmark)
    evaluation = replace(evaluation, reader_name=run.recipe.read_by)
    since = Since(
        evaluation=evaluation, metric=benchmark.metrics(find_benchmark_folder(benchmark, run.context))[0].name
    )
    if get_plan() is not None:
        return since
    now, store = evaluation.make_row(run), Store.of(run.context)

    def is_there(before: Mapping[str, Any]) -> bool:
        made = {role: getattr(evaluation, role).stage for role in ROLES[1:]}
        return all(store.find(stage, before[role]) for role, stage in made.items())

    with open_warehouse(run.context.warehouse) as con:
        record_evaluation(con, now)
        before = find_evaluation_before(con, now, is_there=is_there)
    if before is None:
        get_stage_logger().info("%s: the first evaluation in this store, so nothing to compare it with", evaluation)
        return since
    if all(before[role] == now[role] for role in ROLES):
        get_stage_logger().info("%s: the same answers as last time", evaluation)
        return replace(since, unchanged=True)
    compared = collect_comparison(run.context, before, now)
    key = ComparisonKey(
        benchmark=evaluation.benchmark,
        name=Path(evaluation.name).name,
        before=before["predictions"],
        before_scores=before["scores"],
    )

    def make(artefact: Partial) -> None:
        write_comparison(artefact, compared, evaluation.questions)

    inputs = {"questions": evaluation.questions, "predictions": evaluation.predictions, "scores": evaluation.scores}
    made = run_stage(run, COMPARISON, key, inputs, make)
    since = replace(since, compared=compared, page=made.folder / PAGE)
    _log_comparison(run.context, since)
    return since


def collect_comparison(context: Context, before: Mapping[str, Any], now: Mapping[str, Any]) -> Compared:
    """Compare two evaluations of one benchmark, given as rows of the table `evaluation`.

    If they share no question, nothing else is listed but that, and another corpus.
    """
    with open_warehouse(context.warehouse, read_only=True) as con:
        places = {side[role]: open_folder(find_place(con, side[role])) for side in (before, now) for role in ROLES}
        asked, asked_before = (read_asked_questions(places[side["questions"]]) for side in (now, before))
        apart = not {row["question_id"] for row in asked} & {row["question_id"] for row in asked_before}
        changes = (
            [describe_two_things(con, "questions", before["questions"], now["questions"])]
            if apart
            else [each for role in ROLES[1:] for each in list_changes(con, before[role], now[role])]
        )
        inputs = list_changed_inputs(con, before["predictions"], now["predictions"])
        fields = list_recipe_differences(con, before["run_id"], now["run_id"])
        wanted = {"before": before["predictions"], "now": now["predictions"], "questions": now["questions"]}
        answers = read_report_rows(con, "changed_answers", wanted | {"limit": NUM_ANSWERS})
        corpora = find_other_corpora(con, before, now)
        times = [find_moment(con, side) for side in (before, now)]
        conditions = ConditionWords(read_conditions(con))
    _, old = read_official_marks(places[before["predictions"]], places[before["scores"]])
    metric, new = read_official_marks(places[now["predictions"]], places[now["scores"]])
    found = compare_evaluations(new, old, asked, benchmark=now["benchmark"], metric=metric)
    named = None
    if corpora:
        named_before, named_now = name_corpora(corpora)
        named = (named_before, named_now)
        changes.append(Change("another corpus", KNOWLEDGE_STAGE, *named))
    return Compared(
        benchmark=now["benchmark"],
        before=dict(before) | {"made": times[0]},
        now=dict(now) | {"made": times[1]},
        differences=[row | {"before": before["predictions"]} for row in found],
        changes=sorted(set(changes)),
        inputs=inputs,
        fields=fields,
        answers=answers,
        apart=apart,
        corpora=named,
        conditions=conditions,
    )


def write_comparison(artefact: Partial, compared: Compared, questions: Reference) -> None:
    """Write the page, the reasons as JSON, and the differences as rows."""
    with artefact.open_file(PAGE) as path:
        path.write_text(render_comparison(compared, images=open_pictures([questions.folder])), encoding="utf-8")
    reasons = {"changes": [asdict(change) for change in compared.changes], "inputs": list(compared.inputs)}
    with artefact.open_file(REASONS) as path:
        path.write_text(json.dumps(reasons, ensure_ascii=False, indent=1), encoding="utf-8")
    artefact.write_shard(DIFFERENCES, check_rows("difference", compared.differences))


Marks = Mapping[tuple[str, int], Mapping[str, float]]


def read_official_marks(predictions: Path, scores: Path) -> tuple[str, Marks]:
    """Read an evaluation's official metric and its marks: (condition, k) -> question id -> mark from 0 to 1.

    The official metric is the first one in the file of marks.
    """
    listed = pq.read_table(scores / "marks.parquet").to_pylist()
    official = listed[0]["metric"] if listed else ""
    value = {row["prediction_id"]: row["value"] for row in listed if row["metric"] == official}
    marks: dict[tuple[str, int], dict[str, float]] = {}
    for path in sorted(predictions.glob("part-*.parquet")):
        for row in pq.read_table(path, columns=["prediction_id", "question_id", "condition", "k"]).to_pylist():
            marks.setdefault((row["condition"], row["k"]), {})[row["question_id"]] = value[row["prediction_id"]]
    return official, marks


def compare_evaluations(
    now: Marks, before: Marks, questions: Sequence[Row], *, benchmark: str, metric: str
) -> list[dict[str, Any]]:
    """Compare two evaluations condition by condition: rows of the table `difference`, in shares, without `before`.

    The p-values are adjusted over all comparisons (Holm).
    """
    family = compare_by_condition(now, before, questions, benchmark=benchmark)
    return [
        {"benchmark": benchmark, "metric": metric, "first": row["condition"], "second": row["condition"]}
        | {name: value for name, value in convert_to_shares(row).items() if name != "condition"}
        for row in add_words(family)
    ]


def compare_by_condition(
    first: Marks, second: Marks, questions: Sequence[Row], *, benchmark: str
) -> list[dict[str, Any]]:
    """Compare two sides under each condition and k that both answered: rows of `compare` with `condition` and `k`."""
    known = find_benchmark(benchmark)
    comparing = ComparisonSettings(total=known.total, cluster_by=known.cluster_by)
    return [
        row | {"condition": condition, "k": k}
        for (condition, k), marks in sorted(first.items())
        if (condition, k) in second and marks.keys() & second[condition, k].keys()
        for row in compare(marks, second[condition, k], questions, comparing)
    ]


def open_pictures(questions: Sequence[Path]) -> Callable[[str], bytes | None]:
    """Return a function from an `image_id` to the picture, among those of questions in the folders of artefacts."""
    found: dict[str, bytes] = {}
    for folder in questions:
        for path in list_question_shards(folder):
            found |= {
                row["image_id"]: row["image"] for row in pq.read_table(path, columns=["image_id", "image"]).to_pylist()
            }
    return found.get


def _log_comparison(context: Context, since: Since) -> None:
    """Log each difference with its interval, p-value and number of changed answers, and the causes."""
    evaluation, compared, logger = since.evaluation, since.compared, get_stage_logger()
    assert compared is not None and since.page is not None
    whole = name_whole(compared.differences)
    for row in compared.differences:
        if row["split"] == whole:
            interval = write_interval(row["low"], row["high"], write_points)
            logger.info(
                "%s, %s k=%s: %s, %+.1f points (%s), p = %.3f, %d of %d answers changed",
                *(evaluation, row["first"], row["k"], write_verdict(row)),
                *(100 * row["value"], interval, row["p_adjusted"], row["changed"], row["n"]),
            )
    for change in compared.causes:
        logger.info("changed since last time: %s", change)
    logger.info("comparison page: %s", name_page(context, since.page))
