"""Combines the scores of splits: the mean over all questions, or a harmonic or plain mean over splits or groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from comem_core.evaluation.metrics import Measure

Combining = Literal["questions", "harmonic", "mean"]

ZERO_PERCENT = 1e-12
"""The official harmonic mean replaces a score of 0 percent by this."""

ZERO_SHARE = ZERO_PERCENT / 100

Marks = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Total:
    """How splits become one score: `within` combines the splits of a group, `across` combines the groups.

    `questions` is the mean over all questions. Splits that no group names form a group of their own.
    """

    within: Combining = "questions"
    across: Combining = "questions"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find_group(self, split: str) -> str:
        """Return the name of a split's group; empty for a split that no group names."""
        return next((name for name, splits in self.groups.items() if split in splits), "")

    def compute_percent(self, by_split: Mapping[str, Marks], metric: Measure) -> float:
        """Return the score over all splits given, in percent, rounded to 2 decimals.

        As officially, the scores of splits are rounded before they are combined; the scores of groups are not. Raises
        ValueError where there is no split.
        """
        if not by_split:
            raise ValueError("no split has marks, so there is no score; score the questions of at least one split")
        if self.across == "questions" and (self.within == "questions" or len(self._group_splits(by_split)) > 1):
            return metric.percent([mark for marks in by_split.values() for mark in marks])
        return round(
            combine_percents([self._score_group(each, metric) for each in self._group_splits(by_split)], self.across), 2
        )

    def name_labels(self, splits: Sequence[str]) -> list[str]:
        """Return a label per question; marks with the same label are averaged before anything is combined."""
        group_of = {split: self.find_group(split) for split in set(splits)}
        if self.across == "questions" and len(set(group_of.values())) > 1:
            return ["all"] * len(splits)
        return [group_of[split] for split in splits] if self.within == "questions" else list(splits)

    def make_combiner(self, splits: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that combines means (..., S), one per sorted distinct label (`name_labels`), into (...)."""
        names = sorted(set(self.name_labels(splits)))
        if len(names) == 1:
            return lambda means: means[..., 0]
        if self.within == "questions":
            return lambda means: _combine_shares(means, self.across)
        groups = sorted({self.find_group(name) for name in names})
        places = [[place for place, name in enumerate(names) if self.find_group(name) == group] for group in groups]

        def combine(means: np.ndarray) -> np.ndarray:
            of_groups = np.stack([_combine_shares(means[..., chosen], self.within) for chosen in places], axis=-1)
            return of_groups[..., 0] if len(groups) == 1 else _combine_shares(of_groups, self.across)

        return combine

    def _group_splits(self, by_split: Mapping[str, Marks]) -> list[dict[str, Marks]]:
        grouped: dict[str, dict[str, Marks]] = {}
        for split, marks in by_split.items():
            grouped.setdefault(self.find_group(split), {})[split] = marks
        return list(grouped.values())

    def _score_group(self, by_split: Mapping[str, Marks], metric: Measure) -> float:
        if self.within == "questions":
            return metric.percent([mark for marks in by_split.values() for mark in marks])
        return combine_percents([metric.percent(marks) for marks in by_split.values()], self.within)


HARMONIC = Total(within="harmonic")
ALL_QUESTIONS = Total()


def combine_percents(percents: Sequence[float], how: Combining) -> float:
    """Combine scores in percent. A single score stays as it is."""
    if len(percents) == 1:
        return percents[0]
    return compute_harmonic_mean(percents) if how == "harmonic" else sum(percents) / len(percents)


def compute_harmonic_mean(percents: Sequence[float]) -> float:
    """Return the harmonic mean; a zero counts as `ZERO_PERCENT`, so that one zero makes the mean (almost) zero.

    Raises ValueError where there are no scores.
    """
    if not len(percents):
        raise ValueError("there is no harmonic mean without scores; give the score of at least one split")
    return len(percents) / sum(1 / (percent or ZERO_PERCENT) for percent in percents)


def _combine_shares(means: np.ndarray, how: Combining) -> np.ndarray:
    if how == "harmonic":
        return means.shape[-1] / (1 / np.where(means == 0, ZERO_SHARE, means)).sum(-1)
    return means.mean(-1)
