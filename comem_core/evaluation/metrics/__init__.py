"""Metrics: one file each. What every metric needs of a question, and what it says of an answer.

A metric scores one answer at a time (`Metric.score`) and turns the marks of a split into percent (`Metric.percent`).
How splits become one number is the benchmark's `totals.Total`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


class GoldAnswers(Protocol):
    """What scoring needs of a question; `comem_core.knowledge.items.Question` has it."""

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
    """Gold answers on their own. `answer_low` and `answer_high` are set for numerical questions only, `options` and
    `right_option` (counted from 0) for multiple choice, `entity_id` where the answer is an entity of Wikidata."""

    question_type: str = "string"
    answers: tuple[str, ...] = ()
    answer_low: float | None = None
    answer_high: float | None = None
    options: tuple[str, ...] = ()
    right_option: int | None = None
    entity_id: str | None = None


def find_right_option(gold: GoldAnswers) -> int:
    """Return the place of the right option. Raises ValueError where it is not known, or not among the options."""
    right = gold.right_option
    if right is None or not 0 <= right < len(gold.options):
        raise ValueError(
            f"a multiple choice needs options and the place of the right one, from 0; found {len(gold.options)} "
            f"options and right_option={right}; leave the question out, or score it by a metric of its answers"
        )
    return right


@dataclass(frozen=True)
class Scored:
    """What a metric says of one answer: `correct` from 0.0 to 1.0; `unparsable` means there was no answer in it."""

    correct: float
    unparsable: bool


def average_percent(marks: Sequence[float]) -> float:
    """Return the mean of the marks of a split, in percent, rounded to 2 decimals.

    Raises ValueError for no marks: such a split has no score.
    """
    if not len(marks):
        raise ValueError("a split without any scored answer has no score; leave it out or score its questions first")
    return round(sum(marks) / len(marks) * 100, 2)


def average_hundreds(marks: Sequence[float]) -> float:
    """Return what `average_percent` does as those evaluators compute it that multiply before they divide.

    Both differ in the last bit of a float, which can decide how a half is rounded. Raises ValueError for no marks.
    """
    if not len(marks):
        return average_percent(marks)
    return round(100 * float(sum(marks)) / len(marks), 2)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What marks are called, and how those of a split become percent; where a mark comes from is not known here."""

    name: str
    percent: Callable[[Sequence[float]], float] = average_percent


@dataclass(frozen=True, kw_only=True)
class Metric(Measure):
    """A metric by the name that score rows and verdicts tell.

    `reads` says what it is given: the short `answer` that extraction found, or the `raw` text that the model wrote, for
    a metric whose own rules find the answer.
    """

    score: Callable[[str, GoldAnswers], Scored]
    reads: Literal["answer", "raw"] = "answer"
