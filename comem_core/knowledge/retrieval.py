"""Retrieves the items for a question: by its picture, by its words, or by both. Works with indexes and vectors.

Shapes: Q questions, E width of an embedding, F items found by either of the two searches.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from comem_core.knowledge.index.vector_index import Hits, VectorIndex
from comem_core.knowledge.index.vectors import SCORE_DECIMALS

NOTHING = Hits((), ())
FEWEST_CANDIDATES = 100


@dataclass(frozen=True, eq=False)
class Side:
    """An index of items by picture or by text, and the questions' embeddings in its space: float32 (Q, E)."""

    index: VectorIndex
    queries_QE: np.ndarray


@dataclass(frozen=True, eq=False)
class Restriction:
    """For each question, the language to which its items are restricted and the items to exclude; None: no rule."""

    languages: Sequence[str | None] | None = None
    excluded: Sequence[Collection[str]] | None = None


def find_items(side: Side, *, k: int, among: Restriction) -> list[Hits]:
    """Return up to k items for each question, best first; none if no item has the language it is restricted to.

    Raises:
        ValueError: as `VectorIndex.search`.
    """
    num = len(side.queries_QE)
    languages = among.languages if among.languages is not None else [None] * num
    anywhere = [row for row in range(num) if languages[row] is None]
    known = [row for row in range(num) if (language := languages[row]) and side.index.has_language(language)]
    found = [NOTHING] * num
    for rows, wanted in ((anywhere, None), (known, [language for row in known if (language := languages[row])])):
        hits = side.index.search(
            side.queries_QE[rows],
            k=k,
            languages=wanted,
            excluded=[among.excluded[row] for row in rows] if among.excluded is not None else None,
        )
        for row, each in zip(rows, hits, strict=True):
            found[row] = each
    return found


def find_items_by_both(image: Side, text: Side, *, text_weight: float, k: int, among: Restriction) -> list[Hits]:
    """Return up to k items for each question by the weighted sum of both cosines; `text_weight` is the texts' weight.

    Items that either side ranks high are scored by both. An item without a picture gets its text's part of the sum.

    Raises:
        ValueError: a weight is outside 0..1, or as `VectorIndex.search`.
    """
    if not 0 <= text_weight <= 1:
        raise ValueError(f"text_weight is {text_weight}; expected a share from 0 (pictures alone) to 1 (texts alone)")
    num = max(FEWEST_CANDIDATES, 10 * k)
    by_image, by_text = (find_items(side, k=num, among=among) for side in (image, text))
    images_QE, texts_QE = (side.index.check_queries(side.queries_QE) for side in (image, text))
    fused = []
    for row, (some, others) in enumerate(zip(by_image, by_text, strict=True)):
        item_ids = sorted({*some.item_ids, *others.item_ids})
        scores_F = (1 - text_weight) * _score_items(image.index, item_ids, images_QE[row])
        scores_F += text_weight * _score_items(text.index, item_ids, texts_QE[row])
        fused.append(_take_best(item_ids, scores_F, k=k))
    return fused


def _score_items(index: VectorIndex, item_ids: Sequence[str], query_E: np.ndarray) -> np.ndarray:
    """Return the cosines of some items and one query; 0 for an item that is not in the index: float64 (F,)."""
    rows_F = index.vectors.find_rows(item_ids)
    return np.where(rows_F >= 0, index.vectors.score_rows(rows_F[None], query_E[None])[0], 0.0)


def _take_best(item_ids: list[str], scores_F: np.ndarray, *, k: int) -> Hits:
    """Return the k items with the highest scores; `item_ids` is sorted, so equal scores rank by id."""
    scores_F = np.round(scores_F, SCORE_DECIMALS) + 0.0
    order_F = np.argsort(-scores_F, kind="stable")[:k]
    return Hits(tuple(item_ids[place] for place in order_F), tuple(float(scores_F[place]) for place in order_F))
