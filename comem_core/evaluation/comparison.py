"""Compares two sets of answers to the same questions: the difference, how certain it is, and how many questions it
would take to show it.

The two sides are two conditions, two encoders, or two evaluations of one encoder; each is marks by question id.
statsmodels takes more than a second to import, so it is imported where it is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from comem_core.evaluation.metrics.totals import Total
from comem_core.evaluation.scores import Row, compute_percent, cut_into_parts, find_cluster
from comem_core.evaluation.statistics import Difference, Resampling, compare_pairs

POWER, ALPHA = 0.8, 0.05
# A larger effect needs the fewest clusters of all, and a smaller one hundreds of millions; statsmodels finds neither.
LARGEST_EFFECT, SMALLEST_EFFECT, FEWEST_CLUSTERS = 5.0, 1e-4, 2


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How two sides are compared: the benchmark's total and clusters, and the columns `by` which to slice further."""

    total: Total
    cluster_by: str = "image_id"
    by: tuple[str, ...] = ()
    resampling: Resampling | None = None


def compare(
    first: Mapping[str, float], second: Mapping[str, float], questions: Sequence[Row], comparing: ComparisonSettings
) -> list[dict[str, Any]]:
    """Compare marks by question id on the questions that both sides have, by split, by group of splits, and over all.

    A row has `split`, `difference, low, high` (percentage points, first minus second), `p_value`, `n`, `changed`
    (questions with another mark) and `needed` (see `count_questions_needed`). Raises ValueError where no question is in
    common.
    """
    common = [row for row in questions if row["question_id"] in first and row["question_id"] in second]
    if not common:
        raise ValueError(
            f"no question in common: {len(first)} and {len(second)} answers, to {len(questions)} questions"
        )
    rows = []
    for split, part in cut_into_parts(common, comparing.total, comparing.by).items():
        one = [first[row["question_id"]] for row in part]
        other = [second[row["question_id"]] for row in part]
        found = compare_pairs(
            one,
            other,
            [find_cluster(row, comparing.cluster_by) for row in part],
            splits=[row["split"] or "all" for row in part],
            total=comparing.total,
            resampling=comparing.resampling,
        )
        changed = sum(a != b for a, b in zip(one, other, strict=True))
        rows.append({"split": split} | _make_row(found) | {"changed": changed})
    return rows


def add_words(family: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Adjust the p-values of one family of comparisons (Holm), and call each one `better`, `worse` or `tied`."""
    adjusted = adjust_by_holm([row["p_value"] for row in family])
    return [
        dict(row)
        | {"p_adjusted": p_adjusted, "word": _make_difference(row).choose_word(p_adjusted=p_adjusted, alpha=ALPHA)}
        for row, p_adjusted in zip(family, adjusted, strict=True)
    ]


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family of comparisons by Holm's step-down rule; order is kept."""
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(p_values, method="holm")[1]).tolist() if len(p_values) else []


def count_questions_needed(found: Difference) -> int | None:
    """Estimate how many questions it takes to show a difference of this size with 80 % power (two-sided, 5 %).

    Counts the clusters that a paired t-test needs (statsmodels), if they are as large and as alike inside as these.
    None where the difference is zero, next to nothing or does not vary, or where a split has a single cluster.
    """
    if not found.value or not found.standard_error:
        return None
    from statsmodels.stats.power import TTestPower

    effect = abs(found.value) / (found.standard_error * np.sqrt(found.num_clusters))
    if effect < SMALLEST_EFFECT:
        return None
    solved = effect <= LARGEST_EFFECT
    num_clusters = (
        np.max(TTestPower().solve_power(effect_size=effect, power=POWER, alpha=ALPHA)) if solved else FEWEST_CLUSTERS
    )
    return int(np.ceil(num_clusters * found.n / found.num_clusters))


def _make_row(found: Difference) -> dict[str, Any]:
    return {
        "difference": compute_percent(found.value),
        "low": compute_percent(found.low),
        "high": compute_percent(found.high),
        "p_value": found.p_value,
        "n": found.n,
        "needed": count_questions_needed(found),
    }


def _make_difference(row: Mapping[str, Any]) -> Difference:
    return Difference(
        value=row["difference"],
        low=row["low"],
        high=row["high"],
        p_value=row["p_value"],
        n=row["n"],
        num_clusters=0,
    )
