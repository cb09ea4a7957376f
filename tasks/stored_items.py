"""Items of an artefact as a mapping that holds little: ids in memory, texts and pictures read when they are asked for.

What was read last stays for a while, up to a number of bytes: a small corpus is read once, and one larger than memory
works too. Knows Parquet; nothing of Prefect and Ray.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.items import KnowledgeItem

ITEM_COLUMNS = ("text", "language", "source", "licence", "entity_id", "title", "image")
FACTS = ("item_id", "image_id", "language", "entity_id")
HELD_BYTES = 256_000_000
HELD_FILES = 64


class StoredItems(Mapping[str, KnowledgeItem]):
    """The items of `part-*.parquet` by their id, in the order in which they were written.

    `facts` and what is made of it (languages, entities, pictures' ids) cost no text and no picture.
    """

    def __init__(self, folder: Path, *, held_bytes: int = HELD_BYTES):
        self.paths = sorted(folder.glob("part-*.parquet"))
        self.held_bytes = held_bytes
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._groups: OrderedDict[int, tuple[int, Sequence[KnowledgeItem]]] = OrderedDict()
        self._num_held = 0
        sizes = [
            (number, group, facts.row_group(group).num_rows)
            for number, path in enumerate(self.paths)
            for facts in [pq.read_metadata(path)]
            for group in range(facts.num_row_groups)
        ]
        self._where = np.array([each[:2] for each in sizes], dtype=np.int32).reshape(-1, 2)
        self._ends = np.cumsum([each[2] for each in sizes], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __iter__(self) -> Iterator[str]:
        return (f"{number:016x}" for number in self._ids.tolist())

    def __contains__(self, item_id: object) -> bool:
        return self._place_of(item_id) is not None

    def __getitem__(self, item_id: str) -> KnowledgeItem:
        place = self._place_of(item_id)
        if place is None:
            raise KeyError(item_id)
        group = int(np.searchsorted(self._ends, place, side="right"))
        items = self._group(group)
        return items[place - int(self._ends[group]) + len(items)]

    @cached_property
    def facts(self) -> pa.Table:
        """Ids and languages of all items in order: item_id, image_id, language, entity_id."""
        columns = list(FACTS)
        tables = [pq.read_table(path, columns=columns) for path in self.paths]
        return pa.concat_tables(tables) if tables else pa.table({name: pa.array([], pa.string()) for name in columns})

    def column(self, name: str) -> list[Any]:
        """One column of `facts`, in the order of items."""
        return self.facts[name].to_pylist()

    def entities(self) -> dict[str, str | None]:
        """Map each item's id to its entity's."""
        return dict(zip(self, self.column("entity_id"), strict=True))

    def pictures(self) -> "StoredPictures":
        """The pictures by their own ids."""
        return StoredPictures(self)

    @cached_property
    def _ids(self) -> np.ndarray:
        tables = (pq.read_table(path, columns=["item_id"]) for path in self.paths)
        ids = [np.array([int(each, 16) for each in table["item_id"].to_pylist()], np.uint64) for table in tables]
        return np.concatenate([np.zeros(0, np.uint64), *ids])

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._ids, kind="stable")

    @cached_property
    def _sorted_ids(self) -> np.ndarray:
        return self._ids[self._order]

    def _place_of(self, item_id: object) -> int | None:
        try:
            number = np.uint64(int(str(item_id), 16))
        except (ValueError, OverflowError):
            return None
        found = int(np.searchsorted(self._sorted_ids, number))
        if found == len(self._sorted_ids) or self._sorted_ids[found] != number:
            return None
        return int(self._order[found])

    def _group(self, group: int) -> Sequence[KnowledgeItem]:
        """The items of a row group, read if they are not held; those that were used longest ago make room."""
        if group in self._groups:
            self._groups.move_to_end(group)
            return self._groups[group][1]
        number, inside = self._where[group].tolist()
        table = self._file(number).read_row_group(inside, columns=list(ITEM_COLUMNS))
        items = [KnowledgeItem(**row) for row in table.to_pylist()]
        self._groups[group] = (table.nbytes, items)
        self._num_held += table.nbytes
        while self._num_held > self.held_bytes and len(self._groups) > 1:
            self._num_held -= self._groups.popitem(last=False)[1][0]
        return items

    def _file(self, number: int) -> pq.ParquetFile:
        if number in self._files:
            self._files.move_to_end(number)
        else:
            self._files[number] = pq.ParquetFile(self.paths[number])
            if len(self._files) > HELD_FILES:
                self._files.popitem(last=False)[1].close()
        return self._files[number]


class StoredPictures(Mapping[str, bytes]):
    """The pictures of items by `image_id`."""

    def __init__(self, items: StoredItems):
        self.stored = items
        pairs = zip(items.column("image_id"), items.column("item_id"), strict=True)
        self._item_of = {image_id: item_id for image_id, item_id in pairs if image_id is not None}

    def __len__(self) -> int:
        return len(self._item_of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._item_of)

    def __getitem__(self, image_id: str) -> bytes:
        return self.stored[self._item_of[image_id]].picture
