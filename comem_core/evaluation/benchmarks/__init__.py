"""Benchmarks: one file each, found by name in `registry`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from comem_core.evaluation.metrics import GoldAnswers, Scored
from comem_core.knowledge.items import Question


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Where the questions are, how they are split, and how an answer is scored.

    `parts` are what can be loaded (a model is tuned on one and reported on another); `splits` are the kinds of question
    inside a part, over whose scores the final score is the harmonic mean. `revision` hashes the content of the data.
    `cluster_by` is the question's column whose values share their luck, by which intervals are resampled.
    """

    name: str
    source: str
    licence: str
    parts: tuple[str, ...]
    splits: tuple[str, ...]
    cluster_by: str
    revision: Callable[[], str]
    load: Callable[[str], Iterator[Question]]
    score: Callable[[str, GoldAnswers], Scored]
    # The training split's questions, for synthesis.
    seeds: Callable[[], Iterator[Question]]
    # What no training question may be about, in any part: entities, and (entity, attribute) pairs.
    held_out: Callable[[], tuple[frozenset[str], frozenset[tuple[str, str]]]]
