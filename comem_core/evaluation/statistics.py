"""Confidence intervals of scores and paired differences, by cluster. Works on arrays.

Answers about one image are correlated, so whole clusters (images, or entities) are left out or swapped, never single
questions. `python -m comem_core.measures.coverage` measures how often the intervals hold the truth. Everything is in
the unit of the input (fractions of 1). The order of the rows does not change the numbers.

Shapes: N questions, C clusters, S splits, R seeds or random swaps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import betaincinv, expit, logit, stdtrit

from comem_core.evaluation.metrics.totals import HARMONIC, Total

Word = Literal["better", "worse", "tied"]
Combine = Callable[[np.ndarray], np.ndarray]
Bounds = tuple[float, float]

FEWEST_CLUSTERS = 10
"""With fewer clusters in a split there is no interval, because none that was tried holds 95 %."""

# The most swaps drawn at a time, and the most numbers that they may hold.
_CHUNK, _NUMBERS = 500, 5_000_000
# How far the mean of a cluster is moved to see how much the cluster weighs in a total.
_STEP = 1e-6


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How sure an interval is, and how a p-value is drawn. The seed makes equal input give equal output."""

    num_swaps: int = 9999
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score with its interval; `low` and `high` are None where a split has fewer than `FEWEST_CLUSTERS`."""

    value: float
    low: float | None
    high: float | None
    n: int
    num_clusters: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First minus second on the same questions, with its interval and the two-sided p-value of "no difference".

    `standard_error` is None where a split has a single cluster.
    """

    value: float
    low: float | None
    high: float | None
    p_value: float
    n: int
    num_clusters: int
    standard_error: float | None = None

    def choose_word(self, *, p_adjusted: float | None = None, alpha: float = 0.05) -> Word:
        """Return `better` or `worse` when the p-value is below alpha and the interval excludes zero, else `tied`.

        Where a split has too few clusters for an interval, the p-value alone decides.
        """
        p_value = self.p_value if p_adjusted is None else p_adjusted
        holds_zero = self.low is not None and self.high is not None and self.low <= 0 <= self.high
        if p_value >= alpha or holds_zero:
            return "tied"
        return "better" if self.value > 0 else "worse"


def score_interval(
    correct: Sequence[float] | np.ndarray,
    clusters: Sequence[str] | np.ndarray,
    *,
    splits: Sequence[str] | None = None,
    total: Total = HARMONIC,
    resampling: Resampling | None = None,
) -> Interval:
    """Return the mean of `correct` with its interval; `total` combines the means of several splits.

    The standard error is the jackknife's over clusters. The interval is Student's on the scale of log odds, where a
    share is nearly normal and stays between 0 and 1; clusters of unequal size leave it fewer degrees of freedom. Where
    every answer of a split is right, or every one wrong, nothing varies. There the exact binomial bound on the number
    of clusters is used instead, so that 0 of 20 never reads as "certainly zero".
    """
    return score_intervals(np.asarray(correct)[None], clusters, splits=splits, total=total, resampling=resampling)[0]


def score_intervals(
    corrects: Sequence[Sequence[float]] | np.ndarray,
    clusters: Sequence[str] | np.ndarray,
    *,
    splits: Sequence[str] | None = None,
    total: Total = HARMONIC,
    resampling: Resampling | None = None,
) -> list[Interval]:
    """Return `score_interval` for several kinds of marks of the same answers."""
    if not len(corrects):
        return []
    table = _Clusters(clusters, splits, total, num_values=len(corrects[0]))
    return [_make_interval(table.sums(correct)[None], table, resampling) for correct in corrects]


def average_interval(
    corrects: Sequence[Sequence[float]] | np.ndarray,
    clusters: Sequence[str] | np.ndarray,
    *,
    splits: Sequence[str] | None = None,
    total: Total = HARMONIC,
    resampling: Resampling | None = None,
) -> Interval:
    """Return the mean score of several seeds; each entry of `corrects` has one seed's marks of the same questions.

    The interval is for another seed on other questions: the variance of the seeds' mean is added to that between
    clusters, with the degrees of freedom of Welch and Satterthwaite.
    """
    table = _Clusters(clusters, splits, total, num_values=len(corrects[0]))
    return _make_interval(np.stack([table.sums(correct) for correct in corrects]), table, resampling)


def compare_pairs(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    clusters: Sequence[str] | np.ndarray,
    *,
    splits: Sequence[str] | None = None,
    total: Total = HARMONIC,
    resampling: Resampling | None = None,
) -> Difference:
    """Compare two conditions on the same questions: row i of `first` and of `second` answer the same question.

    The interval is Newcombe's for paired shares: it joins the intervals of both by the correlation of their clusters.
    Where no cluster differs, it is zero. The p-value comes from swapping whole clusters at random; nothing is normal.
    """
    if len(first) != len(second):
        raise ValueError(f"paired answers must be equally many; found {len(first)} and {len(second)}")
    resampling = resampling or Resampling()
    table = _Clusters(clusters, splits, total, num_values=len(first))
    counts_CS, combine = table.counts_CS, table.combine
    sums = (table.sums(first), table.sums(second))
    (one, one_C), (other, other_C) = (_leave_out(sums_CS, counts_CS, combine) for sums_CS in sums)
    low, high = None, None
    if table.has_enough:
        ends = tuple(_find_bounds(sums_CS[None], counts_CS, combine, resampling.confidence) for sums_CS in sums)
        low, high = _bound_difference((one, other), (one_C, other_C), (ends[0], ends[1]))
    return Difference(
        value=one - other,
        low=low,
        high=high,
        p_value=_swap_p_value(*sums, table=table, resampling=resampling),
        n=len(first),
        num_clusters=len(counts_CS),
        standard_error=float(np.sqrt(_sum_squares(one_C - other_C))) if table.can_vary else None,
    )


class _Clusters:
    """Counts of questions by cluster and split, and how the means of the splits become a total."""

    def __init__(
        self, clusters: Sequence[str] | np.ndarray, splits: Sequence[str] | None, total: Total, *, num_values: int
    ):
        splits = ["all"] * num_values if splits is None else splits
        if not num_values == len(clusters) == len(splits):
            raise ValueError(
                f"each answer needs a cluster and a split; found {num_values} answers, {len(clusters)} clusters "
                f"and {len(splits)} splits"
            )
        if num_values == 0:
            raise ValueError("no answers: a score needs at least one")
        cluster_ids, cluster_N = np.unique(np.asarray(clusters), return_inverse=True)
        split_ids, split_N = np.unique(np.asarray(total.name_labels(splits), dtype=str), return_inverse=True)
        self.combine = total.make_combiner(splits)
        self._shape = (len(cluster_ids), len(split_ids))
        self._cell_N = cluster_N * len(split_ids) + split_N
        self.counts_CS = self.sums(np.ones(num_values))
        fewest = (self.counts_CS > 0).sum(0).min()
        self.can_vary, self.has_enough = bool(fewest > 1), bool(fewest >= FEWEST_CLUSTERS)

    def sums(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """Add up values (N,) by cluster and split: (C, S)."""
        values_N = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values_N).all():
            raise ValueError("answers are scored with finite numbers; found NaN or infinity")
        if len(values_N) != len(self._cell_N):
            raise ValueError(f"each answer needs one mark; found {len(self._cell_N)} answers and {len(values_N)} marks")
        total = np.bincount(self._cell_N, weights=values_N, minlength=self._shape[0] * self._shape[1])
        return total.reshape(self._shape)


def _make_interval(sums_RCS: np.ndarray, table: _Clusters, resampling: Resampling | None) -> Interval:
    """Make the interval of the mean of one or several seeds."""
    counts_CS, combine = table.counts_CS, table.combine
    value = float(combine(sums_RCS.sum(1) / counts_CS.sum(0)).mean())
    low, high = None, None
    if table.has_enough:
        low, high = _find_bounds(sums_RCS, counts_CS, combine, (resampling or Resampling()).confidence)
    return Interval(value=value, low=low, high=high, n=int(counts_CS.sum()), num_clusters=len(counts_CS))


def _find_bounds(sums_RCS: np.ndarray, counts_CS: np.ndarray, combine: Combine, confidence: float) -> Bounds:
    """Return the interval of a total; with an all-right or all-wrong split, combine the ends of the splits' own."""
    mean_S = sums_RCS.sum((0, 1)) / (len(sums_RCS) * counts_CS.sum(0))
    if not np.isin(mean_S, (0, 1)).any():
        return _find_student_bounds(sums_RCS, counts_CS, combine, confidence)
    if len(mean_S) == 1:
        return _find_exact_bounds(bool(mean_S[0]), len(counts_CS), confidence)
    ends = []
    for split in range(len(mean_S)):
        asked_C = counts_CS[:, split] > 0
        own_RCS, own_CS = sums_RCS[:, asked_C, split, None], counts_CS[asked_C, split, None]
        ends.append(_find_bounds(own_RCS, own_CS, lambda means: means[..., 0], confidence))
    low_S, high_S = np.array(ends).T
    return float(combine(low_S)), float(combine(high_S))


def _find_student_bounds(sums_RCS: np.ndarray, counts_CS: np.ndarray, combine: Combine, confidence: float) -> Bounds:
    """Return Student's interval on the scale of log odds. The seeds' variance is added where there are several."""
    values, changes = zip(*(_leave_out(sums_CS, counts_CS, combine) for sums_CS in sums_RCS), strict=True)
    effective = _count_effective(sums_RCS.mean(0), counts_CS, combine)
    parts = [(_sum_squares(np.mean(changes, axis=0)), max(effective - 1, 1))]
    if len(values) > 1:
        parts.append((float(np.var(values, ddof=1)) / len(values), len(values) - 1))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / each for part, each in parts) if variance else 1
    value = float(np.mean(values))
    half = stdtrit(freedom, (1 + confidence) / 2) * np.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def _leave_out(sums_CS: np.ndarray, counts_CS: np.ndarray, combine: Combine) -> tuple[float, np.ndarray]:
    """Return a total, and how it changes when each cluster (C) is left out."""
    value = float(combine(sums_CS.sum(0) / counts_CS.sum(0)))
    left_CS = counts_CS.sum(0) - counts_CS
    means_CS = (sums_CS.sum(0) - sums_CS) / np.where(left_CS > 0, left_CS, 1)
    return value, combine(means_CS) - value


def _sum_squares(changes_C: np.ndarray) -> float:
    """Return the jackknife's variance."""
    return float((len(changes_C) - 1) / len(changes_C) * (changes_C**2).sum())


def _count_effective(sums_CS: np.ndarray, counts_CS: np.ndarray, combine: Combine) -> float:
    """Return how many clusters of equal weight would weigh as evenly in the total as these do (Kish)."""
    mean_S, share_CS = sums_CS.sum(0) / counts_CS.sum(0), counts_CS / counts_CS.sum(0)
    weight_C = combine(mean_S + _STEP * share_CS) - combine(mean_S)
    return float(weight_C.sum() ** 2 / (weight_C**2).sum())


def _find_exact_bounds(right: bool, num: int, confidence: float) -> Bounds:
    """Return the Clopper-Pearson interval of all or none of `num`."""
    tail = (1 - confidence) / 2
    return (float(betaincinv(num, 1, tail)), 1.0) if right else (0.0, float(betaincinv(1, num, 1 - tail)))


def _bound_difference(totals: Bounds, changes: tuple[np.ndarray, np.ndarray], bounds: tuple[Bounds, Bounds]) -> Bounds:
    """Join the bounds of two totals to those of their difference; `changes` are those of each by cluster (C)."""
    (one, other), (one_C, other_C), ((one_low, one_high), (other_low, other_high)) = totals, changes, bounds
    if one == other and np.array_equal(one_C, other_C):
        return 0.0, 0.0
    lengths = np.sqrt((one_C**2).sum() * (other_C**2).sum())
    together = float((one_C * other_C).sum() / lengths) if lengths else 0.0

    def join(a: float, b: float) -> float:
        return float(np.sqrt(max(0.0, a**2 + b**2 - 2 * together * a * b)))

    low, high = join(one - one_low, other_high - other), join(one_high - one, other - other_low)
    return max(-1.0, one - other - low), min(1.0, one - other + high)


def _swap_p_value(first_CS: np.ndarray, second_CS: np.ndarray, *, table: _Clusters, resampling: Resampling) -> float:
    """Return how often a difference at least as large appears when conditions are swapped within random clusters."""
    middle_S, half_CS = (first_CS + second_CS).sum(0) / 2, (first_CS - second_CS) / 2
    count_S = table.counts_CS.sum(0)

    def difference(half_S: np.ndarray) -> np.ndarray:
        return table.combine((middle_S + half_S) / count_S) - table.combine((middle_S - half_S) / count_S)

    observed = abs(difference(half_CS.sum(0)))
    generator = np.random.default_rng(resampling.seed + 1)
    num_as_large = 0
    size = max(1, min(_CHUNK, _NUMBERS // len(half_CS)))
    for start in range(0, resampling.num_swaps, size):
        num_swaps = min(size, resampling.num_swaps - start)
        signs_RC = generator.integers(2, size=(num_swaps, len(half_CS))) * 2.0 - 1.0
        num_as_large += int((np.abs(difference(signs_RC @ half_CS)) >= observed - 1e-12).sum())
    return (num_as_large + 1) / (resampling.num_swaps + 1)
