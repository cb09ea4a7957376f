"""How often a judge and the official metric agree that an answer is right: shares and Cohen's kappa (statsmodels).

Some metrics give partial marks: an official mark of 0.5 or more counts as right. Answers with an unparsable verdict are
counted, but not compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from comem_core.evaluation.llm_judge import CORRECT, UNPARSABLE
from comem_core.evaluation.scores import Row

RIGHT_FROM = 0.5


def compare_verdicts(
    predictions: Iterable[Row], official: Mapping[str, float], verdicts: Mapping[str, str | None]
) -> list[dict[str, Any]]:
    """Compare verdicts with official marks, both by prediction id: one row over all, then one per condition and k.

    Rows have the columns of the table `agreement`, except the names of the benchmark and the metrics. Predictions that
    the judge was not asked about are left out; without any verdict there are no rows.
    """
    groups: dict[tuple[str | None, int | None], list[tuple[bool, str | None]]] = {}
    for row in predictions:
        name = row["prediction_id"]
        if name in verdicts:
            pair = (official[name] >= RIGHT_FROM, verdicts[name])
            for key in ((None, None), (row["condition"], int(row["k"] or 0))):
                groups.setdefault(key, []).append(pair)
    ordered = sorted(groups, key=lambda key: (key[0] is not None, key[0] or "", key[1] or 0))
    return [{"condition": key[0], "k": key[1]} | _row(groups[key]) for key in ordered]


def _row(pairs: Sequence[tuple[bool, str | None]]) -> dict[str, Any]:
    compared = [(right, verdict == CORRECT) for right, verdict in pairs if verdict not in (None, UNPARSABLE)]
    counts = {cell: compared.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False))}
    both_right, first_only, second_only, both_wrong = counts.values()
    return {
        "n": len(compared),
        "both_right": both_right,
        "first_only": first_only,
        "second_only": second_only,
        "both_wrong": both_wrong,
        "share": (both_right + both_wrong) / len(compared) if compared else None,
        "kappa": compute_kappa([[both_right, first_only], [second_only, both_wrong]]),
        "unparsable": sum(verdict == UNPARSABLE for _, verdict in pairs),
        "failed": sum(verdict is None for _, verdict in pairs),
    }


def compute_kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Return Cohen's kappa of a square table of counts.

    None for an empty table, and where both raters gave every answer the same label.
    """
    from statsmodels.stats.inter_rater import cohens_kappa  # takes a second to import, and only judged runs need it

    counts = np.array(table)
    if np.count_nonzero(counts) == np.count_nonzero(counts.diagonal()) < 2:
        return None
    return float(cast(float, cohens_kappa(counts, return_results=False)))
