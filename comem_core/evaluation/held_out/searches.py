"""How well a search finds the item that a question is about, by the rank at which that item is.

`Ranks` are of the same questions in the same order; a rank is from 1, or None where the item was not retrieved.
"""

from collections.abc import Mapping, Sequence

Ranks = Sequence[int | None]


def find_rank(item_ids: Sequence[str], right: str) -> int | None:
    """Return the rank of the right item among those that were retrieved, best first, or None."""
    return item_ids.index(right) + 1 if right in item_ids else None


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
