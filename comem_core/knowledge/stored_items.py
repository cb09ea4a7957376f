"""The items of an artefact as a mapping that needs little memory: it holds ids, and reads texts and pictures on demand.

Uses Parquet, but not Prefect or Ray.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.stored_rows import HELD_BYTES, StoredPictures, StoredRows
from comem_core.serving.layout import SHARDS

ITEM_COLUMNS = ("text", "language", "source", "licence", "entity_id", "title", "image")
FACTS = ("item_id", "image_id", "language", "entity_id")


class StoredItems(Mapping[str, KnowledgeItem]):
    """The items of a folder's shards by their id, in the order in which they were written.

    `facts` (languages, entities, ids of pictures) is read without texts and pictures.
    """

    def __init__(self, folder: Path, *, shards: str = SHARDS, held_bytes: int = HELD_BYTES):
        self.rows = StoredRows(
            sorted(folder.glob(shards)),
            ("item_id", *ITEM_COLUMNS),
            lambda row: KnowledgeItem.with_id(**row),
            id_column="item_id",
            number_of=_parse_item_id,
            held_bytes=held_bytes,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[str]:
        return (f"{number:016x}" for number in self.rows.numbers.tolist())

    def __contains__(self, item_id: object) -> bool:
        return self.rows.find_place(item_id) is not None

    def __getitem__(self, item_id: str) -> KnowledgeItem:
        return self.rows.of(item_id)

    @cached_property
    def facts(self) -> pa.Table:
        """All items in order, with the columns item_id, image_id, language and entity_id."""
        tables = list(self.rows.read_tables(*FACTS))
        return pa.concat_tables(tables) if tables else pa.table({name: pa.array([], pa.string()) for name in FACTS})

    def read_column(self, name: str) -> list[Any]:
        """Return one column of `facts`, in the order of items."""
        return self.facts[name].to_pylist()

    def map_entities(self) -> dict[str, str | None]:
        """Map each item's id to its entity's id."""
        return dict(zip(self, self.read_column("entity_id"), strict=True))

    def open_pictures(self) -> StoredPictures:
        """Return the items' pictures by `image_id`."""
        return StoredPictures(self.rows, lambda item: item.picture)


class ChosenItems(Sequence[KnowledgeItem]):
    """Some items by their places among the stored ones. An item is read when it is asked for; a slice reads none."""

    def __init__(self, rows: StoredRows[KnowledgeItem], places_K: np.ndarray):
        self.rows, self.places_K = rows, places_K

    def __len__(self) -> int:
        return len(self.places_K)

    @overload
    def __getitem__(self, place: int) -> KnowledgeItem: ...

    @overload
    def __getitem__(self, place: slice) -> "ChosenItems": ...

    def __getitem__(self, place: int | slice) -> "KnowledgeItem | ChosenItems":
        if isinstance(place, slice):
            return ChosenItems(self.rows, self.places_K[place])
        return self.rows[int(self.places_K[place])]

    def __eq__(self, other: object) -> bool:
        """Tell whether the other holds the same items, as a tuple does or in a store."""
        return isinstance(other, ChosenItems | tuple) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


def _parse_item_id(item_id: str) -> int:
    return int(item_id, 16)
