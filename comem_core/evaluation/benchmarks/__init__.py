"""Benchmarks, one file each. `registry` finds them: every file in this folder that has a `BENCHMARK`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comem_core.evaluation.metrics import Metric
from comem_core.evaluation.metrics.totals import ALL_QUESTIONS, Total
from comem_core.knowledge.items import Question

ANY = "*"
"""The key of the wording for languages without one of their own."""


@dataclass(frozen=True)
class MissingQuestion:
    """A question of the benchmark that cannot be asked: its id, the reason as a word, the detail as a sentence.

    `row` is its number in the annotation file `file`, counted from 1. `split` is None where it is unknown.
    """

    question_id: str
    reason: str
    detail: str
    file: str = ""
    row: int | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a question is put to a model, by language. `question` has the placeholders `{question}` and `{options}`;
    `option` is the form of one option (`{label}`, `{text}`). The prompt set adds everything else (reasoning, boxes).
    """

    question: Mapping[str, str] = field(default_factory=lambda: {ANY: "{question}"})
    labels: tuple[str, ...] = ("A", "B", "C", "D", "E", "F", "G", "H")
    option: str = "{label}. {text}"

    def of(self, question: Question) -> str:
        """Return the wording of one question.

        Raises ValueError for a language without a wording, and for more options than labels.
        """
        words = self.question.get(question.language, self.question.get(ANY))
        if words is None:
            raise ValueError(f"no wording for language {question.language!r}; there are {', '.join(self.question)}")
        if len(question.options) > len(self.labels):
            raise ValueError(
                f"{question.question_id} has {len(question.options)} options; there are only {len(self.labels)} labels"
            )
        options = "\n".join(
            self.option.replace("{label}", label).replace("{text}", text)
            for label, text in zip(self.labels, question.options, strict=False)
        )
        return words.replace("{options}", options).replace("{question}", question.question)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where the questions are, how they are worded, and how an answer is scored.

    `parts` names the parts that can be loaded; a model is tuned on one and reported on another. `read` yields the
    questions of a part, and the missing ones, from the folder with the benchmark's files as released; the folder is
    None for a benchmark that ships with the project. `revision` returns a hash of those files. `metrics` builds the
    metrics for the same folder; the first is the official one, which decides `prediction.correct`. `total` says how
    splits become one number. `cluster_by` is the column of the question by whose values intervals are resampled,
    because answers with the same value are correlated. Scores are also reported for each value of the columns in
    `slices`. `tuning_part` is a part that shares no question with the others and on which thresholds are fitted.
    `names_items` tells that questions have a `gold_item_id`, so that what is retrieved for them is right or wrong.
    """

    name: str
    source: str
    licence: str
    parts: tuple[str, ...]
    read: Callable[[str, Path | None], Iterator[Question | MissingQuestion]]
    revision: Callable[[str, Path | None], str]
    metrics: Callable[[Path | None], tuple[Metric, ...]]
    total: Total = ALL_QUESTIONS
    wording: Wording = field(default_factory=Wording)
    cluster_by: str = "image_id"
    tuning_part: str | None = None
    slices: tuple[str, ...] = ("language", "attribute")
    names_items: bool = False
    # The training split's questions, for synthesis, from the same folder; None where it has no training split. Each
    # question names this benchmark. The first of `metrics(None)` judges the answers.
    seeds: Callable[[Path | None], Iterable[Question | MissingQuestion]] | None = None
    # The entities and the (entity, attribute) pairs of all parts, which no training question may be about.
    held_out: Callable[[], tuple[frozenset[str], frozenset[tuple[str, str]]]] = lambda: (frozenset(), frozenset())
    # What the folder must hold and where to get it, for the error about a missing folder; None where none is needed.
    files: str | None = None
