"""Is one set of answers better than another, on the same questions? By how much, how surely, and if not, what would
it take to see it?

Two sides are two conditions, two encoders or two evaluations of one: each is marks by question. Knows no rows' origin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from comem_core.evaluation.metrics.totals import Total
from comem_core.evaluation.scores import Row, compute_percent, cut_into_parts, find_cluster
from comem_core.evaluation.statistics import Difference, Resampling, adjust_by_holm, compare_pairs

POWER, ALPHA = 0.8, 0.05


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How two sides are compared: the benchmark's total and clusters, and by which columns besides splits."""

    total: Total
    cluster_by: str = "image_id"
    by: tuple[str, ...] = ()
    resampling: Resampling | None = None


def compare(
    first: Mapping[str, float], second: Mapping[str, float], questions: Sequence[Row], comparing: ComparisonSettings
) -> list[dict[str, Any]]:
    """Compare marks by question id on the questions that both have, by split, group of splits, and over all.

    A row has `split, value_first, value_second` (percent), `difference, low, high` (percentage points, first minus
    second), `p_value`, `n`, `changed` (questions with another mark) and `needed` (questions that would show a
    difference of this size; None where there is none). Raises ValueError where no question is in common.
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
        rows.append({"split": split} | _row(found, one, other))
    return rows


def add_words(family: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Adjust the p-values of one family of comparisons (Holm), and say of each: `better`, `worse` or `tied`."""
    adjusted = adjust_by_holm([row["p_value"] for row in family])
    return [
        dict(row) | {"p_adjusted": p_adjusted, "word": _found(row).choose_word(p_adjusted=p_adjusted, alpha=ALPHA)}
        for row, p_adjusted in zip(family, adjusted, strict=True)
    ]


def count_questions_needed(differences: Sequence[float]) -> int | None:
    """Estimate how many questions would show the mean of these differences in 4 of 5 repetitions (two-sided, 5 %).

    A paired t-test on independent questions (statsmodels); questions that share an image count for less, so it is a
    lower bound. None where the mean is zero, or all differences are the same.
    """
    mean, spread = float(np.mean(differences)), float(np.std(differences))
    if mean == 0 or spread == 0:
        return None
    from statsmodels.stats.power import TTestPower  # a second, and most differences get here never

    needed = TTestPower().solve_power(effect_size=abs(mean) / spread, power=POWER, alpha=ALPHA)
    return int(np.ceil(np.max(needed)))


def _row(found: Difference, one: Sequence[float], other: Sequence[float]) -> dict[str, Any]:
    differences = [a - b for a, b in zip(one, other, strict=True)]
    return {
        "difference": compute_percent(found.value),
        "low": compute_percent(found.low),
        "high": compute_percent(found.high),
        "p_value": found.p_value,
        "n": found.n,
        "changed": sum(each != 0 for each in differences),
        "needed": count_questions_needed(differences),
    }


def _found(row: Mapping[str, Any]) -> Difference:
    return Difference(
        value=row["difference"],
        low=row["low"],
        high=row["high"],
        p_value=row["p_value"],
        n=row["n"],
        num_clusters=0,
    )
