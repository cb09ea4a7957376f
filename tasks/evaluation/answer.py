"""Answering: one prediction for each benchmark question under each condition; earlier answers are reused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bind
from typing import Any

import pyarrow as pa
import torch

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import CONDITIONS, find_condition
from comem_core.evaluation.runner import ReaderInput, mark_row, name_row, predict
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.answering import Answering as ReadsMemory
from comem_core.memory.bank import Bank
from comem_core.prompts import read_prompt_set
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.partial import Partial
from tasks.engine.reuse import find_rows, take_over
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import get_stage_logger, run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.evaluation.encode import read_bank, read_encode_seconds
from tasks.evaluation.exam import PREDICTIONS, Exam, Unit, count_answers, list_units, make_predictions_key
from tasks.models import load_answering
from tasks.rows.tables import read_items, read_questions, read_rows
from tasks.run import Run
from warehouse.schemas import check_rows

REUSED, KEY = "part-answered-before", "answer_key"


@stage_task(name="answer-benchmark")
def answer_benchmark(run: Run, exam: Exam) -> Reference:
    """Ask the reader every question under every condition of the recipe, unless it has answered it before."""
    recipe, part = run.recipe.evaluation, make_predictions_key(run, exam)

    def make(artefact: Partial) -> None:
        if run.recipe.reader is not None:
            artefact.measure("reader", {"name": run.recipe.reader.name, "sees_pictures": False})
        questions = read_questions(exam.questions)
        units = list(list_units(run, part, exam, questions))
        answered = _take_over_answers(run, artefact, units, questions)
        missing = [unit for unit in units if unit.key not in answered]
        get_stage_logger().info("%d of %d answers are reused from earlier evaluations", len(answered), len(units))
        if missing:
            make_shards("answer-benchmark", run.context, artefact, missing, bind(_make_examiner, run, exam))

    inputs = {"backbone": run.backbone} | ({"reader": run.reader} if run.reader else {}) | exam.name_inputs()
    asked = count_answers(recipe, exam.questions.num_rows)
    return run_stage(run, PREDICTIONS, part, inputs, make, expects=asked)


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


@dataclass(frozen=True)
class _Banks:
    """The memories of the corpus and of the foreign corpus, if it is asked, with the seconds that each item took."""

    banks: tuple[Bank, ...]
    seconds: Mapping[str, float]

    @classmethod
    def of(cls, exam: Exam) -> "_Banks":
        references = [bank for bank in (exam.bank, exam.foreign_bank) if bank is not None]
        seconds: dict[str, float] = {}
        for reference in references:
            seconds |= read_encode_seconds(reference)
        return cls(tuple(read_bank(each, encoder=exam.encoder) for each in references), seconds)

    def memory(self, unit: Unit, answering: ReadsMemory) -> torch.Tensor:
        condition = find_condition(unit.condition)
        if condition.learned_nothing:
            return answering.empty_memory().repeat(unit.k, 1)
        bank = self.banks[-1] if condition.choice == "foreign" else self.banks[0]
        return bank.of(unit.item_ids if condition.place == "memory" else ())

    def encode_seconds(self, unit: Unit) -> float:
        """Return the seconds that encoding a unit's items took when the bank was made."""
        if CONDITIONS[unit.condition].place != "memory":
            return 0.0
        return sum(self.seconds.get(item_id, 0.0) for item_id in unit.item_ids)


def _make_examiner(run: Run, exam: Exam) -> Work:
    answering, banks = load_answering(run, exam.encoder, exam.transfer), _Banks.of(exam)
    items, questions = read_items(exam.knowledge), read_questions(exam.questions)
    found_in = {row["question_id"]: row["seconds"] for row in read_rows(exam.retrieved)}
    recipe = run.recipe.evaluation
    benchmark, prompts = find_benchmark(recipe.benchmark), read_prompt_set(recipe.prompts)
    folder = find_benchmark_folder(benchmark, run.context)

    def asking(unit: Unit) -> ReaderInput:
        in_prompt = find_condition(unit.condition).place == "prompt"
        prompt_items: tuple[KnowledgeItem, ...] = tuple(items[each] for each in unit.item_ids) if in_prompt else ()
        return ReaderInput(
            question=questions[unit.place],
            condition=unit.condition,
            k=unit.k,
            prompt_items=prompt_items,
            item_ids=unit.item_ids,
            memory=banks.memory(unit, answering),
        )

    def work(batch: Sequence[Unit]) -> pa.Table:
        rows = predict(
            answering,
            [asking(unit) for unit in batch],
            prompts,
            benchmark=benchmark,
            folder=folder,
            max_new_tokens=recipe.max_new_tokens,
            max_seconds=run.context.answer_seconds,
        )
        added = [
            {
                KEY: unit.key,
                "retrieve_seconds": found_in.get(row["question_id"]) if unit.item_ids else 0.0,
                "encode_seconds": banks.encode_seconds(unit),
            }
            for unit, row in zip(batch, rows, strict=True)
        ]
        return check_rows("prediction", [row | more for row, more in zip(rows, added, strict=True)])

    return work
