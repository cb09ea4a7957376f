"""The search entries of a bank's items: an embedding of each one's picture, and its language.

Shapes: N items, E width of a picture's embedding.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comem_core.knowledge.index.ids import encode_ids
from comem_core.knowledge.index.vector_index import EXACT_UP_TO, VectorIndex
from comem_core.knowledge.index.vectors import VectorWriter


@dataclass(frozen=True, eq=False)
class Picture:
    """The search entry of an item in a bank: its picture's embedding_E (float32), and the item's language."""

    embedding_E: np.ndarray
    language: str


@dataclass(frozen=True, eq=False)
class Pictures:
    """The search entries of some items."""

    item_ids: Sequence[str]
    languages: Sequence[str]
    embedding_NE: np.ndarray

    @classmethod
    def of(cls, pictures: Mapping[str, Picture]) -> "Pictures":
        """Take entries by item."""
        embedding_NE = np.stack([each.embedding_E for each in pictures.values()])
        return cls(list(pictures), [each.language for each in pictures.values()], embedding_NE)

    @classmethod
    def of_index(cls, index: VectorIndex, *, without: Collection[str]) -> "Pictures":
        """Take the entries in an index, except those of some items."""
        vectors = index.vectors
        kept_N = ~np.isin(vectors.item_ids_N, encode_ids(sorted(without)))
        languages = np.empty(len(vectors), dtype=object)
        for language, (first, end) in vectors.ranges.items():
            languages[first:end] = language
        item_ids = [each.decode() for each in vectors.item_ids_N[kept_N].tolist()]
        return cls(item_ids, languages[kept_N].tolist(), vectors.vectors_NE[kept_N])

    @classmethod
    def join(cls, parts: Sequence["Pictures"]) -> "Pictures":
        """Put the entries of several parts together."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            [item_id for part in parts for item_id in part.item_ids],
            [language for part in parts for language in part.languages],
            np.concatenate([part.embedding_NE.astype(np.float32) for part in parts]),
        )

    def list_each(self) -> Iterator[tuple[str, Picture]]:
        """Yield each item's id and entry."""
        rows = zip(self.item_ids, self.embedding_NE, self.languages, strict=True)
        return ((item_id, Picture(np.asarray(each_E, np.float32), language)) for item_id, each_E, language in rows)

    def make_index(self) -> VectorIndex:
        """Return an index of the entries, in which every one is compared."""
        embedding_NE = np.asarray(self.embedding_NE, np.float32)
        return VectorIndex(embedding_NE, item_ids=self.item_ids, languages=self.languages)

    def write_index(self, folder: Path) -> None:
        """Write an index into an existing folder; of many entries it is an approximate one."""
        if len(self.item_ids) <= EXACT_UP_TO:
            self.make_index().save(folder)
            return
        options = {"width": self.embedding_NE.shape[1], "dtype": "float16"}
        writer = VectorWriter(folder, item_ids=self.item_ids, languages=self.languages, **options)
        writer.put(np.arange(len(self.item_ids)), np.asarray(self.embedding_NE, np.float32))
        VectorIndex.finish(writer)


def check_pictures(pictures: Sequence[Picture] | None, num_items: int, *, grid: tuple[int, int] | None) -> None:
    """Raise ValueError unless a searchable bank is given a picture for each item, and another bank none."""
    if (pictures is not None) != (grid is not None):
        raise ValueError(
            "this bank is searched by pictures, but none were given"
            if pictures is None
            else "this bank is not searchable (its grid is None), but pictures were given"
        )
    if pictures is not None and len(pictures) != num_items:
        raise ValueError(f"{len(pictures)} pictures for {num_items} items; expected one per item")
