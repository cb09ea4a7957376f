"""Answers questions of an exam with the memories of the corpus. Only workers import this module: it needs torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import CONDITIONS, find_condition
from comem_core.evaluation.runner import ReaderInput, predict
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.answering import Answering as ReadsMemory
from comem_core.memory.bank import Bank
from comem_core.prompts import read_prompt_set
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.shards import Work
from tasks.evaluation.exam import KEY, Exam, Unit
from tasks.evaluation.held_out.choosing import CERTAINTY
from tasks.memory.encode import read_encode_seconds
from tasks.models import load_answering
from tasks.rows.tables import read_items, read_questions, read_rows
from tasks.run import Run
from warehouse.schemas import check_rows


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
        return cls(tuple(Bank.load(each.folder) for each in references), seconds)

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


def make_examiner(run: Run, exam: Exam) -> Work:
    """Return the work of answering units of an exam, with the models and memories loaded."""
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
        return check_rows("prediction", [row | more for row, more in zip(rows, added, strict=True)], extra=CERTAINTY)

    return work
