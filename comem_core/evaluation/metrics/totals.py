"""How the scores of splits become one number: of all questions, a harmonic mean, or a plain mean over groups."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from comem_core.evaluation.metrics import Measure

Combining = Literal["questions", "harmonic", "mean"]

ZERO_PERCENT = 1e-12
"""What the official harmonic mean puts in the place of a score of 0 percent."""

ZERO_SHARE = ZERO_PERCENT / 100

Marks = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Total:
    """`within` says how the splits of a group become its score, `across` how the groups become the whole.

    `questions` is the mean over all questions. A split that no group names is in the group of those that none names.
    """

    within: Combining = "questions"
    across: Combining = "questions"
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def find_group(self, split: str) -> str:
        """Name the group of a split; empty for one that no group names."""
        return next((name for name, splits in self.groups.items() if split in splits), "")

    def compute_percent(self, by_split: Mapping[str, Marks], metric: Measure) -> float:
        """Return the score over all splits given, in percent, rounded to 2 decimals.

        As officially, the scores of splits are rounded before they are combined, those of groups are not. Raises
        ValueError for no split.
        """
        if not by_split:
            raise ValueError("no split has marks, so there is no score; score the questions of at least one")
        if self.across == "questions" and (self.within == "questions" or len(self._grouped(by_split)) > 1):
            return metric.percent([mark for marks in by_split.values() for mark in marks])
        return round(combine_percents([self._group(each, metric) for each in self._grouped(by_split)], self.across), 2)

    def name_labels(self, splits: Sequence[str]) -> list[str]:
        """Name, question by question, what its mark is averaged with before anything is combined."""
        group_of = {split: self.find_group(split) for split in set(splits)}
        if self.across == "questions" and len(set(group_of.values())) > 1:
            return ["all"] * len(splits)
        return [group_of[split] for split in splits] if self.within == "questions" else list(splits)

    def make_combiner(self, splits: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
        """Return what turns the means (..., S) of the sorted distinct `labels` of splits into shares (...)."""
        names = sorted(set(self.name_labels(splits)))
        if len(names) == 1:
            return lambda means: means[..., 0]
        if self.within == "questions":
            return lambda means: _combined_shares(means, self.across)
        groups = sorted({self.find_group(name) for name in names})
        places = [[place for place, name in enumerate(names) if self.find_group(name) == group] for group in groups]

        def combine(means: np.ndarray) -> np.ndarray:
            of_groups = np.stack([_combined_shares(means[..., chosen], self.within) for chosen in places], axis=-1)
            return of_groups[..., 0] if len(groups) == 1 else _combined_shares(of_groups, self.across)

        return combine

    def _grouped(self, by_split: Mapping[str, Marks]) -> list[dict[str, Marks]]:
        grouped: dict[str, dict[str, Marks]] = {}
        for split, marks in by_split.items():
            grouped.setdefault(self.find_group(split), {})[split] = marks
        return list(grouped.values())

    def _group(self, by_split: Mapping[str, Marks], metric: Measure) -> float:
        if self.within == "questions":
            return metric.percent([mark for marks in by_split.values() for mark in marks])
        return combine_percents([metric.percent(marks) for marks in by_split.values()], self.within)


HARMONIC = Total(within="harmonic")
ALL_QUESTIONS = Total()


def combine_percents(percents: Sequence[float], how: Combining) -> float:
    """Combine scores in percent. A single score is itself."""
    if len(percents) == 1:
        return percents[0]
    return compute_harmonic_mean(percents) if how == "harmonic" else sum(percents) / len(percents)


def compute_harmonic_mean(percents: Sequence[float]) -> float:
    """Return the harmonic mean; a zero counts as `ZERO_PERCENT`, so that one zero makes the mean (almost) zero.

    Raises ValueError for no scores.
    """
    if not len(percents):
        raise ValueError("the harmonic mean of no scores does not exist; give the score of at least one split")
    return len(percents) / sum(1 / (percent or ZERO_PERCENT) for percent in percents)


def _combined_shares(means: np.ndarray, how: Combining) -> np.ndarray:
    if how == "harmonic":
        return means.shape[-1] / (1 / np.where(means == 0, ZERO_SHARE, means)).sum(-1)
    return means.mean(-1)
