"""Answering: one prediction for each benchmark question under each condition; earlier answers are reused."""

from collections.abc import Sequence
from functools import partial as bind
from typing import Any

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.prediction_rows import mark_row, name_row
from comem_core.knowledge.items import Question
from comem_core.prompts import read_prompt_set
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.partial import Partial
from tasks.engine.reuse import find_rows, take_over
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import get_stage_logger, run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.evaluation.exam import KEY, PREDICTIONS, Exam, Unit, count_answers, list_units, make_predictions_key
from tasks.rows.tables import read_questions
from tasks.run import Run
from tasks.served import find_engine

REUSED = "part-answered-before"


@stage_task(name="answer-benchmark")
def answer_benchmark(run: Run, exam: Exam) -> Reference:
    """Ask the reader every question under every condition of the recipe, unless it has answered it before."""
    recipe, key = run.recipe.evaluation, make_predictions_key(run, exam)

    def make(artefact: Partial) -> None:
        if run.recipe.reader is not None:
            artefact.measure("reader", {"name": run.recipe.reader.name, "sees_pictures": False})
        if run.recipe.engine is not None:
            version = find_engine(run.recipe.engine, run.context).engine.version
            artefact.measure("reader", {"name": f"{run.recipe.engine.name} {version}", "sees_pictures": True})
        questions = read_questions(exam.questions)
        units = list(list_units(run, key, exam, questions))
        answered = _take_over_answers(run, artefact, units, questions)
        missing = [unit for unit in units if unit.key not in answered]
        get_stage_logger().info("%d of %d answers are reused from earlier evaluations", len(answered), len(units))
        if missing:
            make_shards("answer-benchmark", run.context, artefact, missing, bind(_make_examiner, run, exam))

    inputs = (
        {"backbone": run.backbone}
        | ({} if run.answers is run.backbone else {"reader": run.answers})
        | exam.name_inputs()
    )
    asked = count_answers(recipe, exam.questions.num_rows)
    return run_stage(run, PREDICTIONS, key, inputs, make, expects=asked)


def _take_over_answers(run: Run, artefact: Partial, units: Sequence[Unit], questions: Sequence[Question]) -> set[str]:
    """Write the answers of earlier evaluations under this evaluation's names, and return their keys."""

    def find() -> list[dict[str, Any]]:
        benchmark = find_benchmark(run.recipe.evaluation.benchmark)
        official = benchmark.metrics(find_benchmark_folder(benchmark, run.context))[0]
        extract = read_prompt_set(run.recipe.evaluation.prompts).extract
        earlier = _find_earlier_answers(Store.of(run.context), {unit.key for unit in units})
        return [
            earlier[unit.key]
            | name_row(question, unit.condition, unit.k)
            | mark_row(earlier[unit.key]["answer_raw"], question, official, extract=extract)
            | {"item_ids": list(unit.item_ids)}
            for unit in units
            if unit.key in earlier
            for question in [questions[unit.place]]
        ]

    return take_over(artefact, REUSED, find, stage=PREDICTIONS, key=KEY)


def _find_earlier_answers(store: Store, keys: set[str]) -> dict[str, dict[str, Any]]:
    """Find answers by their key, without those that timed out, which are asked again."""
    found = find_rows(store, PREDICTIONS, key=KEY, keys=keys)
    return {row[KEY]: row for row in found if not row["timed_out"]}


def _make_examiner(run: Run, exam: Exam) -> Work:
    """Enter a worker; only there torch is imported."""
    from tasks.evaluation.examiner import make_examiner

    return make_examiner(run, exam)
