"""Metrics, one file each, and the types they share: what a metric needs from a question, and what it returns.

A metric scores one answer at a time (`Metric.score`) and turns the marks of a split into percent (`Metric.percent`).
How splits become one number is the benchmark's `totals.Total`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from comem_core.evaluation.answers import cut_thinking


class GoldAnswers(Protocol):
    """What scoring needs from a question; `comem_core.knowledge.items.Question` has it."""

    @property
    def question_type(self) -> str: ...
    @property
    def answers(self) -> tuple[str, ...]: ...
    @property
    def answer_low(self) -> float | None: ...
    @property
    def answer_high(self) -> float | None: ...
    @property
    def options(self) -> tuple[str, ...]: ...
    @property
    def right_option(self) -> int | None: ...
    @property
    def entity_id(self) -> str | None: ...


@dataclass(frozen=True, kw_only=True)
class Gold:
    """Gold answers without their question.

    `answer_low` and `answer_high` are set for numerical questions only, `options` and `right_option` (counted from 0)
    for multiple choice, `entity_id` where the answer is a Wikidata entity.
    """

    question_type: str = "string"
    answers: tuple[str, ...] = ()
    answer_low: float | None = None
    answer_high: float | None = None
    options: tuple[str, ...] = ()
    right_option: int | None = None
    entity_id: str | None = None


def find_right_option(gold: GoldAnswers) -> int:
    """Return the index of the right option. Raises ValueError where it is unknown or not among the options."""
    right = gold.right_option
    if right is None or not 0 <= right < len(gold.options):
        raise ValueError(
            f"a multiple-choice question needs options and the index of the right one, from 0; found "
            f"{len(gold.options)} options and right_option={right}; leave the question out, or score it by a metric "
            "that compares answers"
        )
    return right


@dataclass(frozen=True)
class Scored:
    """A metric's result for one answer: `correct` is 0.0 to 1.0; `unparsable` means that the text held no answer."""

    correct: float
    unparsable: bool


def average_percent(marks: Sequence[float]) -> float:
    """Return the mean of the marks of a split, in percent, rounded to 2 decimals.

    Raises ValueError where there are no marks, because such a split has no score.
    """
    if not len(marks):
        raise ValueError("a split without any scored answer has no score; leave it out or score its questions first")
    return round(sum(marks) / len(marks) * 100, 2)


def average_hundreds(marks: Sequence[float]) -> float:
    """Return `average_percent`, but multiply before dividing, as some official evaluators do.

    The two differ in the last bit of a float, which can decide how a half is rounded. Raises ValueError where there are
    no marks.
    """
    if not len(marks):
        return average_percent(marks)
    return round(100 * float(sum(marks)) / len(marks), 2)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The name of a kind of mark, and how the marks of a split become a percentage; independent of their origin."""

    name: str
    percent: Callable[[Sequence[float]], float] = average_percent


@dataclass(frozen=True, kw_only=True)
class Metric(Measure):
    """A metric; `name` is its name in score rows and verdicts.

    `reads` says which text it scores: the short `answer` that extraction found, or the `raw` text that the model wrote,
    for a metric that finds the answer by its own rules.
    """

    score: Callable[[str, GoldAnswers], Scored]
    reads: Literal["answer", "raw"] = "answer"

    def mark(self, raw: str, answer: str, gold: GoldAnswers) -> Scored:
        """Score the one of a prediction's two texts that the metric reads; the raw one without the model's thinking."""
        return self.score(cut_thinking(raw) if self.reads == "raw" else answer, gold)
