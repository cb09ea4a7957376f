"""How well a search finds the item that a question is about, by the rank at which that item is.

`Ranks` are of the same questions in the same order; a rank is from 1, or None where the item was not retrieved.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from comem_core.evaluation.comparison import add_words
from comem_core.evaluation.statistics import compare_pairs, score_interval

Ranks = Sequence[int | None]


def find_rank(item_ids: Sequence[str], right: Collection[str]) -> int | None:
    """Return the rank of the first right item among those that were retrieved, best first, or None."""
    return next((rank for rank, item_id in enumerate(item_ids, start=1) if item_id in right), None)


def mark_found(ranks: Ranks, k: int) -> list[float]:
    """Return 1.0 for each question whose right item is among the first k, else 0.0 (the terms of recall@k)."""
    return [float(rank is not None and rank <= k) for rank in ranks]


def average_reciprocal_rank(ranks: Ranks) -> float:
    """Return the mean of 1 / rank, 0 where the item was not retrieved (MRR; Voorhees, TREC-8, 1999).

    Raises:
        ValueError: there are no questions.
    """
    if not ranks:
        raise ValueError("no question was searched for; a mean needs at least one")
    return sum(1 / rank for rank in ranks if rank is not None) / len(ranks)


def order_searches(found: Mapping[str, Ranks], k: int) -> list[str]:
    """Return the names of searches, the best first: by how many right items are among the first k, then by the mean
    reciprocal rank. Equal ones keep their order."""

    def rate(name: str) -> tuple[float, float]:
        return sum(mark_found(found[name], k)), average_reciprocal_rank(found[name])

    return sorted(found, key=rate, reverse=True)


def score_searches(
    found: Mapping[str, Ranks],
    languages: Sequence[str],
    clusters: Sequence[str],
    *,
    numbers: Sequence[int],
    shown: int,
) -> Iterator[dict[str, Any]]:
    """Yield how often each search finds the right item among the first k, the best search first.

    A row has `search`, `place` (from 1), `language` (None: all questions), `k` (each of `numbers`) and `is_shown` (k is
    `shown`, by which searches are ordered); `n`, `found, low, high` (shares of 1, with a 95 % interval by `clusters`)
    and `reciprocal_rank`. Rows of all questions at `shown` also compare with the best search (`compare_with_best`).
    """
    ordered = order_searches(found, shown)
    compared = compare_with_best(ordered, found, clusters, k=shown)
    parts: dict[str | None, list[int]] = {None: list(range(len(languages)))}
    for number, language in enumerate(languages):
        parts.setdefault(language, []).append(number)
    for place, name in enumerate(ordered, start=1):
        for language, chosen in parts.items():
            ranks, of_clusters = [found[name][each] for each in chosen], [clusters[each] for each in chosen]
            for k in numbers:
                share = score_interval(mark_found(ranks, k), of_clusters)
                row = {"search": name, "place": place, "language": language, "k": k, "is_shown": k == shown}
                row |= {"n": share.n, "found": share.value, "low": share.low, "high": share.high}
                row |= {"reciprocal_rank": average_reciprocal_rank(ranks)}
                yield row | (compared.get(name, {}) if language is None and k == shown else {})


def compare_with_best(
    ordered: Sequence[str], found: Mapping[str, Ranks], clusters: Sequence[str], *, k: int
) -> dict[str, dict[str, Any]]:
    """Compare each search but the first with it, by what is among the first k for the same questions.

    A value has `difference, difference_low, difference_high` (shares of 1, this one minus the best) and a `word`, for
    which p-values are adjusted over all searches (Holm).
    """
    best, *others = ordered
    family = []
    for name in others:
        pair = compare_pairs(mark_found(found[name], k), mark_found(found[best], k), clusters)
        bounds = {"low": pair.low, "high": pair.high}
        family.append({"search": name, "difference": pair.value, "p_value": pair.p_value, "n": pair.n} | bounds)
    return {
        row["search"]: {"difference": row["difference"], "word": row["word"]}
        | {f"difference_{end}": row[end] for end in ("low", "high")}
        for row in add_words(family)
    }
