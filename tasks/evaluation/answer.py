"""Answering: one prediction for each benchmark question under each condition; earlier answers are reused."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial as bind
from typing import Any

import pyarrow.parquet as pq

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.prediction_rows import mark_row, name_row
from comem_core.knowledge.items import Question
from comem_core.prompts import read_prompt_set
from comem_core.serving.layout import SHARDS
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.partial import Partial
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.evaluation.exam import KEY, PREDICTIONS, Exam, Unit, count_answers, list_units, make_predictions_key
from tasks.evaluation.held_out.choosing import CERTAINTY, LOGPROB, choose_answers
from tasks.rows.earlier import LastingRows, count_missing, leave_missing
from tasks.rows.tables import read_questions
from tasks.run import Run
from tasks.served import find_engine
from warehouse.schemas import check_rows, make_schema

ANSWERS = LastingRows(
    stage=PREDICTIONS,
    key=KEY,
    shard="part-answered-before",
    schema=make_schema("prediction", extra=CERTAINTY),
    unless="timed_out",
    late=(LOGPROB,),
)
CHOSEN = "part-chosen"
"""The shard of the answers that a gate chose among those of other conditions."""


@stage_task(name="answer-benchmark")
def answer_benchmark(run: Run, exam: Exam, *, is_trial: bool = False) -> Reference:
    """Ask the reader every question under every condition of the recipe, unless it has answered it before.

    For a gate, and for a trial on which one is fitted, it has to be known how sure the reader was.
    """
    recipe, key = run.recipe.evaluation, make_predictions_key(run, exam)
    tells = run.recipe.engine is None and (is_trial or exam.gate is not None)
    answers = replace(ANSWERS, needed=LOGPROB) if tells else ANSWERS

    def make(artefact: Partial) -> None:
        if run.recipe.reader is not None:
            artefact.measure("reader", {"name": run.recipe.reader.name, "sees_pictures": False})
        if run.recipe.engine is not None:
            version = find_engine(run.recipe.engine, run.context).engine.version
            artefact.measure("reader", {"name": f"{run.recipe.engine.name} {version}", "sees_pictures": True})
        questions = read_questions(exam.questions)
        units = list(list_units(run, key, exam, questions))
        missing = leave_missing(run.context, artefact, answers, units, _make_renewal(run, questions))
        if missing:
            make_shards(run.context, artefact, missing, bind(_make_examiner, run, exam))
        if exam.gate is not None and CHOSEN not in artefact.list_finished():
            rows = list(choose_answers(run, exam, _read_answers(artefact)))
            artefact.write_shard(CHOSEN, check_rows("prediction", rows, extra=CERTAINTY))

    inputs = (
        {"backbone": run.backbone}
        | ({} if run.answers is run.backbone else {"reader": run.answers})
        | exam.name_inputs()
    )
    asked = count_answers(recipe, exam.questions.num_rows)

    def count() -> tuple[int, int]:
        units = list_units(run, key, exam, read_questions(exam.questions))
        return count_missing(run.context, answers, [unit.key for unit in units])

    return run_stage(run, PREDICTIONS, key, inputs, make, expects=asked, count_missing=count)


def _read_answers(artefact: Partial) -> Iterator[dict[str, Any]]:
    for path in sorted(artefact.folder.glob(SHARDS)):
        yield from pq.read_table(path).to_pylist()


def _make_renewal(run: Run, questions: Sequence[Question]) -> Callable[[dict[str, Any], Unit], dict[str, Any]]:
    """Return how an earlier answer becomes this evaluation's: under its names, and marked anew."""
    benchmark = find_benchmark(run.recipe.evaluation.benchmark)
    official = benchmark.metrics(find_benchmark_folder(benchmark, run.context))[0]
    extract = read_prompt_set(run.recipe.evaluation.prompts).extract

    def renew(row: dict[str, Any], unit: Unit) -> dict[str, Any]:
        question = questions[unit.place]
        marks = mark_row(row["answer_raw"], question, official, extract=extract)
        return row | name_row(question, unit.condition, unit.k) | marks | {"item_ids": list(unit.item_ids)}

    return renew


def _make_examiner(run: Run, exam: Exam) -> Work:
    """Enter a worker; only there torch is imported."""
    from tasks.evaluation.examiner import make_examiner

    return make_examiner(run, exam)
