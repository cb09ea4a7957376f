"""Confidence intervals of scores and paired differences, resampled by cluster. Works on arrays.

Answers about one image are correlated, so whole clusters (images, or entities) are drawn, never single questions.
Everything is in the unit of the input (fractions of 1). The order of the rows does not change the numbers. Every worker
imports this module with its recipe, but none computes an interval. So scipy.stats and statsmodels, which take more than
a second to import, are imported where they are used.

Shapes: N questions, C clusters, S splits, R resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from comem_core.evaluation.metrics.totals import HARMONIC, Total

Word = Literal["better", "worse", "tied"]

# The most resamples drawn at a time, and the most numbers that they may hold: fewer resamples for many clusters.
_CHUNK, _NUMBERS = 500, 5_000_000
# How many numbers are drawn and counted together: as many as fit into the processor's cache.
_AT_ONCE = 50_000


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How an interval is computed. The seed decides which clusters are drawn, so equal input gives equal output."""

    num_resamples: int = 2000
    num_swaps: int = 9999
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score with its interval; `low` and `high` are None where a split has a single cluster."""

    value: float
    low: float | None
    high: float | None
    n: int
    num_clusters: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """First minus second on the same questions, with its interval and the two-sided p-value of "no difference"."""

    value: float
    low: float | None
    high: float | None
    p_value: float
    n: int
    num_clusters: int

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
    clusters: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    total: Total = HARMONIC,
    resampling: Resampling | None = None,
) -> Interval:
    """Return the mean of `correct` with its interval; `total` combines the means of several splits.

    Percentile bootstrap over clusters, stratified by the splits in which a cluster occurs. Where every answer of a
    split is right, or every one wrong, resampling cannot vary it. There the exact binomial bound on the number of
    clusters is used instead, so that 0 of 20 never reads as "certainly zero".
    """
    return score_intervals(np.asarray(correct)[None], clusters, splits=splits, total=total, resampling=resampling)[0]


def score_intervals(
    corrects: Sequence[Sequence[float]] | np.ndarray,
    clusters: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    total: Total = HARMONIC,
    resampling: Resampling | None = None,
) -> list[Interval]:
    """Return `score_interval` for several kinds of marks of the same answers; the resamples are drawn once for all."""
    if not len(corrects):
        return []
    resampling = resampling or Resampling()
    table = _Clusters(clusters, splits, total, num_values=len(corrects[0]))
    sums = [table.sums(correct) for correct in corrects]
    resampled = table.resampled([table.counts_CS, *sums], resampling) if table.can_be_resampled else None
    intervals = []
    for place, sums_CS in enumerate(sums, start=1):
        value = float(table.combine(sums_CS.sum(0) / table.counts_CS.sum(0)))
        low, high = None, None
        if resampled is not None:
            means_RS = resampled[place] / resampled[0]
            low, high = _bounds(means_RS, table=table, sums_CS=sums_CS, resampling=resampling)
        intervals.append(Interval(value=value, low=low, high=high, n=len(corrects[0]), num_clusters=len(sums_CS)))
    return intervals


def compare_pairs(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    clusters: Sequence[str],
    *,
    splits: Sequence[str] | None = None,
    total: Total = HARMONIC,
    resampling: Resampling | None = None,
) -> Difference:
    """Compare two conditions on the same questions: row i of `first` and of `second` answer the same question.

    The interval is the cluster bootstrap of the difference of means, which `total` combines where there are splits. The
    p-value comes from swapping the two conditions of whole clusters at random, which assumes no normal distribution.
    """
    if len(first) != len(second):
        raise ValueError(f"paired answers must be equally many; found {len(first)} and {len(second)}")
    resampling = resampling or Resampling()
    table = _Clusters(clusters, splits, total, num_values=len(first))
    combine = table.combine
    first_CS, second_CS, counts_CS = table.sums(first), table.sums(second), table.counts_CS
    value = float(combine(first_CS.sum(0) / counts_CS.sum(0)) - combine(second_CS.sum(0) / counts_CS.sum(0)))
    low, high = None, None
    if table.can_be_resampled:
        counts_RS, first_RS, second_RS = table.resampled([counts_CS, first_CS, second_CS], resampling)
        drawn_R = combine(first_RS / counts_RS) - combine(second_RS / counts_RS)
        low, high = _percentiles(drawn_R, resampling.confidence)
    p_value = _swap_p_value(first_CS, second_CS, table=table, resampling=resampling)
    return Difference(value=value, low=low, high=high, p_value=p_value, n=len(first), num_clusters=len(counts_CS))


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family of comparisons by Holm's step-down rule; order is kept."""
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p_values, method="holm")[1]).tolist() if len(p_values) else []


class _Clusters:
    """Counts of questions by cluster and split. Clusters that occur in the same splits form a stratum."""

    def __init__(self, clusters: Sequence[str], splits: Sequence[str] | None, total: Total, *, num_values: int):
        splits = ["all"] * num_values if splits is None else splits
        if not num_values == len(clusters) == len(splits):
            raise ValueError(
                f"each answer needs a cluster and a split; found {num_values} answers, {len(clusters)} clusters "
                f"and {len(splits)} splits"
            )
        if num_values == 0:
            raise ValueError("no answers: a score needs at least one")
        cluster_ids, cluster_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        split_ids, split_N = np.unique(np.asarray(total.name_labels(splits), dtype=str), return_inverse=True)
        self.combine = total.make_combiner(splits)
        self._shape = (len(cluster_ids), len(split_ids))
        self._cell_N = cluster_N * len(split_ids) + split_N
        self.counts_CS = self.sums(np.ones(num_values))
        _, stratum_C = np.unique(self.counts_CS > 0, axis=0, return_inverse=True)
        self._strata = [np.flatnonzero(stratum_C == each) for each in np.unique(stratum_C)]

    @property
    def can_be_resampled(self) -> bool:
        return bool((self.counts_CS > 0).sum(0).min() > 1)

    def sums(self, values: Sequence[float] | np.ndarray) -> np.ndarray:
        """Add up values (N,) by cluster and split: (C, S)."""
        values_N = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values_N).all():
            raise ValueError("answers are scored with finite numbers; found NaN or infinity")
        if len(values_N) != len(self._cell_N):
            raise ValueError(f"each answer needs one mark; found {len(self._cell_N)} answers and {len(values_N)} marks")
        total = np.bincount(self._cell_N, weights=values_N, minlength=self._shape[0] * self._shape[1])
        return total.reshape(self._shape)

    def resampled(self, sums: Sequence[np.ndarray], resampling: Resampling) -> list[np.ndarray]:
        """Add up each of several sums (C, S) over the clusters of every resample: (R, S)."""
        generator = np.random.default_rng(resampling.seed)
        beside_CX, chunks = np.concatenate(sums, axis=1), []
        for num_draws in _chunks(resampling.num_resamples, self._shape[0]):
            added_RX = np.zeros((num_draws, beside_CX.shape[1]))
            for members in self._strata:
                added_RX += _draw_with_replacement(len(members), num_draws, generator) @ beside_CX[members]
            chunks.append(added_RX)
        return np.split(np.concatenate(chunks), len(sums), axis=1)


def _chunks(num_draws: int, num_clusters: int) -> Iterator[int]:
    """Cut a number of resamples into chunks that are drawn together."""
    size = max(1, min(_CHUNK, _NUMBERS // num_clusters))
    for start in range(0, num_draws, size):
        yield min(size, num_draws - start)


def _draw_with_replacement(num_members: int, num_draws: int, generator: np.random.Generator) -> np.ndarray:
    """Return how often each cluster is drawn in each resample, as floats for a matrix product."""
    counts = np.empty((num_draws, num_members))
    size = max(1, _AT_ONCE // num_members)
    for start in range(0, num_draws, size):  # drawing in parts gives the same numbers and stays in the cache
        part = counts[start : start + size]
        cells = generator.integers(num_members, size=part.shape)
        cells += np.arange(len(part))[:, None] * num_members
        part[:] = np.bincount(cells.ravel(), minlength=part.size).reshape(part.shape)
    return counts


def _percentiles(drawn_R: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(drawn_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _bounds(
    means_RS: np.ndarray, *, table: _Clusters, sums_CS: np.ndarray, resampling: Resampling
) -> tuple[float, float]:
    """Return the percentile interval; with an all-right or all-wrong split, combine the ends of the split intervals."""
    mean_S = sums_CS.sum(0) / table.counts_CS.sum(0)
    constant_S = (mean_S == 0) | (mean_S == 1)
    if not constant_S.any():
        return _percentiles(table.combine(means_RS), resampling.confidence)
    ends = [_percentiles(means_RS[:, split], resampling.confidence) for split in range(len(mean_S))]
    for split in np.flatnonzero(constant_S):
        num_clusters = int((table.counts_CS[:, split] > 0).sum())
        ends[split] = _exact_binomial(int(mean_S[split]) * num_clusters, num_clusters, resampling.confidence)
    low_S, high_S = np.array(ends).T
    return float(table.combine(low_S)), float(table.combine(high_S))


def _exact_binomial(num_right: int, num: int, confidence: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if num_right == 0 else float(beta.ppf(tail, num_right, num - num_right + 1))
    high = 1.0 if num_right == num else float(beta.ppf(1 - tail, num_right + 1, num - num_right))
    return low, high


def _swap_p_value(first_CS: np.ndarray, second_CS: np.ndarray, *, table: _Clusters, resampling: Resampling) -> float:
    """Return how often a difference at least as large appears when conditions are swapped within random clusters."""
    middle_S, half_CS = (first_CS + second_CS).sum(0) / 2, (first_CS - second_CS) / 2
    count_S = table.counts_CS.sum(0)

    def difference(half_S: np.ndarray) -> np.ndarray:
        return table.combine((middle_S + half_S) / count_S) - table.combine((middle_S - half_S) / count_S)

    observed = abs(difference(half_CS.sum(0)))
    generator = np.random.default_rng(resampling.seed + 1)
    num_as_large = 0
    for num_swaps in _chunks(resampling.num_swaps, len(half_CS)):
        signs_RC = generator.integers(2, size=(num_swaps, len(half_CS))) * 2.0 - 1.0
        num_as_large += int((np.abs(difference(signs_RC @ half_CS)) >= observed - 1e-12).sum())
    return (num_as_large + 1) / (resampling.num_swaps + 1)
