"""Chooses, question by question, between the answers of an exam with and without memory: the condition `gated`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import find_condition
from comem_core.evaluation.held_out.gate import Gate, choose_fold
from comem_core.evaluation.prediction_rows import rename_row
from comem_core.evaluation.scores import Row, find_cluster
from tasks.engine.store import Reference
from tasks.evaluation.exam import Exam
from tasks.rows.tables import read_asked_questions, read_rows
from tasks.run import Run

LOGPROB = "answer_logprob"
CERTAINTY: Mapping[str, pa.DataType] = {LOGPROB: pa.float64()}
"""A column of the shards of answers that the warehouse does not have: how sure the reader was (`Generated.logprob`)."""


@dataclass(frozen=True)
class FittedGates:
    """Gates by fold and number of items; the one without a fold was fitted on other questions than those asked."""

    by_fold: Mapping[tuple[int | None, int], Gate]
    cluster_by: str

    @classmethod
    def read(cls, gate: Reference, *, cluster_by: str) -> "FittedGates":
        """Read the gates of an artefact; `cluster_by` is the benchmark's."""
        rows = list(read_rows(gate))
        folds = [row for row in rows if row["fold"] is not None]
        limits = {(row["fold"], row["k"]): (row["threshold"], row["sure"]) for row in folds or rows}
        return cls({each: Gate(threshold=near, sure=sure) for each, (near, sure) in limits.items()}, cluster_by)

    def find(self, question: Row, *, k: int) -> Gate:
        """Return the gate for a question with k items; its own answers and those of its cluster had no part in it."""
        is_whole = (None, k) in self.by_fold
        return self.by_fold[None if is_whole else choose_fold(find_cluster(question, self.cluster_by)), k]


def choose_answers(run: Run, exam: Exam, answered: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Yield a row for each question and k under each condition that chooses: a copy of the row that the gate chose."""
    assert exam.gate is not None
    recipe = run.recipe.evaluation
    gates = FittedGates.read(exam.gate, cluster_by=find_benchmark(recipe.benchmark).cluster_by)
    asked = {row["question_id"]: row for row in read_asked_questions(exam.questions.folder)}
    scores = {row["question_id"]: row["scores"] for row in read_rows(exam.retrieved)}
    rows = {(row["condition"], row["k"], row["question_id"]): row for row in answered}
    choosing = [each for each in map(find_condition, recipe.conditions) if each.chooses]
    for condition in choosing:
        without, trusted = condition.chooses or ("", "")
        for k in condition.list_numbers(recipe.all_k):
            for question_id, question in asked.items():
                gate, alone = gates.find(question, k=k), rows[without, 0, question_id]
                uses = gate.can_trust(scores[question_id][:k]) and gate.is_unsure(alone.get(LOGPROB))
                yield rename_row(rows[trusted, k, question_id] if uses else alone, condition.name, k)
