"""Benchmarks: one file each, found in this folder by `registry`. A new file with a `BENCHMARK` is a new benchmark."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from comem_core.evaluation.metrics import Metric
from comem_core.evaluation.metrics.totals import ALL_QUESTIONS, Total
from comem_core.knowledge.items import Question

ANY = "*"
"""The language of a wording that serves languages without their own."""


@dataclass(frozen=True)
class Missing:
    """A question of the benchmark that cannot be asked: its id, the reason as a word, the detail as a sentence.

    `row` is its place in the annotation file `file`, counted from 1. `split` is None where it is not known.
    """

    question_id: str
    reason: str
    detail: str
    file: str = ""
    row: int | None = None
    split: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a question is put to a model, by language: `{question}`, and `{options}` where there are some, each behind
    its label in `option` (`{label}`, `{text}`). What stands around it (reasoning, boxes) is the prompt set's.
    """

    question: Mapping[str, str] = field(default_factory=lambda: {ANY: "{question}"})
    labels: tuple[str, ...] = ("A", "B", "C", "D", "E", "F", "G", "H")
    option: str = "{label}. {text}"

    def of(self, question: Question) -> str:
        """Return the words of one question. Raises ValueError where a language has no wording, or labels run out."""
        words = self.question.get(question.language, self.question.get(ANY))
        if words is None:
            raise ValueError(f"no wording for language {question.language!r}; there are {', '.join(self.question)}")
        if len(question.options) > len(self.labels):
            raise ValueError(f"{question.question_id} has {len(question.options)} options, more than there are labels")
        options = "\n".join(
            self.option.replace("{label}", label).replace("{text}", text)
            for label, text in zip(self.labels, question.options, strict=False)
        )
        return words.replace("{options}", options).replace("{question}", question.question)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where the questions are, how they are put, and how an answer is scored.

    `parts` are what can be loaded (a model is tuned on one and reported on another). `read` yields the questions of a
    part, and what is missing of it, from the folder that holds the benchmark's files as released; one that ships with
    the project, and needs none, is given None. `revision` names the content of those files. `metrics` are built for the
    same folder; the first is the official one, which decides `prediction.correct`. `total` says how splits become one
    number. `cluster_by` is the question's column whose values share their luck, by which intervals are resampled;
    `slices` are the columns by whose values scores are told apart.
    """

    name: str
    source: str
    licence: str
    parts: tuple[str, ...]
    read: Callable[[str, Path | None], Iterator[Question | Missing]]
    revision: Callable[[str, Path | None], str]
    metrics: Callable[[Path | None], tuple[Metric, ...]]
    total: Total = ALL_QUESTIONS
    wording: Wording = field(default_factory=Wording)
    cluster_by: str = "image_id"
    slices: tuple[str, ...] = ("language", "attribute")
    # The training split's questions, for synthesis. They ship with the benchmark's code: `revision` and `metrics` are
    # given None as folder. Each names this benchmark, whose first metric judges the answers.
    seeds: Callable[[], Iterable[Question]] = tuple
    # What no training question may be about, in any part: entities, and (entity, attribute) pairs.
    held_out: Callable[[], tuple[frozenset[str], frozenset[tuple[str, str]]]] = lambda: (frozenset(), frozenset())
    # What the folder must hold and where it comes from, for the error that says it is not there; None: it needs none.
    files: str | None = None
