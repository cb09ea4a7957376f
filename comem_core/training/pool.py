"""The items of all samples, from which distractors are drawn: by language, in order of id, and without an entity.

Memory holds numbers for each item. The item itself is read when it is drawn.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from comem_core.knowledge.items import KnowledgeItem

NOBODY = -1  # the number of no entity

# Shapes: N items of the pool, in order of id.


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemPool:
    """Distinct items: their ids as numbers (uint64, ascending), their languages and entities as numbers, and where they
    are. `read` returns the item of a place."""

    ids_N: np.ndarray
    languages_N: np.ndarray
    entities_N: np.ndarray
    places_N: np.ndarray
    read: Callable[[int], KnowledgeItem]

    @classmethod
    def of(cls, items: Sequence[KnowledgeItem]) -> "ItemPool":
        """Return the pool of distinct items that are in memory."""
        return cls.sort(
            np.array([int(item.item_id, 16) for item in items], np.uint64),
            languages=number_names(item.language for item in items),
            entities=number_names(item.entity_id for item in items),
            places=np.arange(len(items)),
            read=items.__getitem__,
        )

    @classmethod
    def sort(
        cls,
        ids: np.ndarray,
        *,
        languages: np.ndarray,
        entities: np.ndarray,
        places: np.ndarray,
        read: Callable[[int], KnowledgeItem],
    ) -> "ItemPool":
        """Return the pool of items that are given in any order."""
        order_N = np.argsort(ids)
        return cls(
            ids_N=ids[order_N],
            languages_N=languages[order_N],
            entities_N=entities[order_N],
            places_N=places[order_N],
            read=read,
        )

    def find_others(self, item: KnowledgeItem) -> np.ndarray:
        """Return the places of the items of an item's language that are not of its entity, in order of id."""
        own = int(np.searchsorted(self.ids_N, np.uint64(int(item.item_id, 16))))
        same_L = self._by_language[int(self.languages_N[own])]
        others_L = same_L != own
        if (entity := self.entities_N[own]) != NOBODY:
            others_L &= self.entities_N[same_L] != entity
        return self.places_N[same_L[others_L]]

    @cached_property
    def _by_language(self) -> dict[int, np.ndarray]:
        return {
            language: np.flatnonzero(self.languages_N == language).astype(np.int32)
            for language in np.unique(self.languages_N).tolist()
        }


def number_names(names: Iterable[Hashable]) -> np.ndarray:
    """Number names by their first appearance (int32); None is `NOBODY`."""
    numbers: dict[Hashable, int] = {None: NOBODY}
    return np.array([numbers.setdefault(name, len(numbers) - 1) for name in names], np.int32)
