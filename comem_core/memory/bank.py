"""A bank: memories by item_id, made by one encoder. Items can be added, replaced and removed without encoding others.

A bank that was loaded reads memories from its folder when it needs them, and holds only those that were put since. A
searchable bank also finds the items whose pictures are nearest to a question's picture.

Shapes: N items, K items asked for, M vectors of an item, D width, Q queries, E width of a picture's embedding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from comem_core.knowledge.index.vector_index import Hits, VectorIndex
from comem_core.memory.bank_files.layout import BankDescription
from comem_core.memory.bank_files.number_types import (
    NUMBER_TYPES,
    Packed,
    check_memory,
    join_packed,
    name_number_type,
    pack,
)
from comem_core.memory.bank_files.older import read_older_bank
from comem_core.memory.bank_files.pictures import Picture, Pictures, check_pictures
from comem_core.memory.bank_files.reading import StoredMemories, describe_missing, describe_not_finite
from comem_core.memory.bank_files.writing import Layer, find_stored_index, save_bank

ITEMS_AT_ONCE = 1024


class Bank:
    """Memories of one encoder. Iterating gives the ids of its items."""

    def __init__(
        self,
        *,
        encoder_id: str,
        num_vectors: int,
        width: int,
        dtype: torch.dtype = torch.float32,
        grid: tuple[int, int] | None = None,
    ):
        """Make an empty bank: `num_vectors` is M and `width` is D; vectors are stored as `dtype`.

        `torch.int8` stores them in 8 bit with a scale for each vector, and gives them as float32. `grid` is how
        pictures are embedded (see `Backbone.pool_images`); a bank with grid None cannot be searched.

        Raises:
            ValueError: memories cannot be stored as `dtype`.
        """
        self.description = BankDescription(
            encoder_id=encoder_id,
            num_vectors=num_vectors,
            width=width,
            number_type=name_number_type(dtype),
            grid=grid,
        )
        self._layers: list[Layer] = []
        self._fresh: dict[str, Packed] = {}
        self._pictures: dict[str, Picture] = {}
        self._index: VectorIndex | None = None
        self._home: Path | None = None

    @property
    def encoder_id(self) -> str:
        """The id of the encoder that made the vectors."""
        return self.description.encoder_id

    @property
    def num_vectors(self) -> int:
        """The number of vectors of an item, M."""
        return self.description.num_vectors

    @property
    def width(self) -> int:
        """The width of a vector, D."""
        return self.description.width

    @property
    def grid(self) -> tuple[int, int] | None:
        """How pictures are embedded; None: the bank cannot be searched."""
        return self.description.grid

    @property
    def dtype(self) -> torch.dtype:
        """The type in which vectors are stored."""
        return NUMBER_TYPES[self.description.number_type]

    @classmethod
    def _of(cls, described: BankDescription) -> "Bank":
        stated = {name: getattr(described, name) for name in ("encoder_id", "num_vectors", "width", "grid")}
        return cls(**stated, dtype=NUMBER_TYPES[described.number_type])

    def __repr__(self) -> str:
        searched = "not searchable" if self.grid is None else f"pictures in a grid {self.grid}"
        return (
            f"Bank of {len(self)} items: {self.num_vectors} vectors of width {self.width} each ({self.dtype}), "
            f"{searched}, encoder {self.encoder_id}"
        )

    def __len__(self) -> int:
        return len(self._fresh) + sum(map(len, self._layers))

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._fresh or any(item_id in layer for layer in self._layers)

    def __iter__(self) -> Iterator[str]:
        for layer in self._layers:
            yield from layer
        yield from list(self._fresh)

    def put(self, item_ids: Sequence[str], memory_NMD: Tensor, *, pictures: Sequence[Picture] | None = None) -> None:
        """Add items, or replace those already present. A searchable bank needs the picture of each.

        Raises:
            ValueError: the memories are not a tensor of numbers, have another shape, or hold a number that is not
                finite; or pictures are missing, too many, or given to a bank that is not searchable.
        """
        if isinstance(item_ids, str):
            raise ValueError(f"item_ids is the text {item_ids!r}; expected a list of item ids")
        check_memory(memory_NMD, (len(item_ids), self.num_vectors, self.width))
        check_pictures(pictures, len(item_ids), grid=self.grid)
        packed = pack(memory_NMD, self.dtype)
        if bad := packed.find_not_finite():
            raise describe_not_finite([item_ids[place] for place in bad], len(item_ids))
        self._forget(item_ids)
        self._fresh.update((each, packed.choose(slice(row, row + 1))) for row, each in enumerate(item_ids))
        self._pictures.update(zip(item_ids, pictures or (), strict=False))

    def remove(self, item_ids: Iterable[str]) -> None:
        """Remove items.

        Raises:
            KeyError: an item is not in the bank; the message names it, and nothing is removed.
        """
        item_ids = list(item_ids)
        if missing := [item_id for item_id in item_ids if item_id not in self]:
            raise describe_missing(missing, len(item_ids))
        self._forget(item_ids)

    def _forget(self, item_ids: Sequence[str]) -> None:
        self._index = None
        for item_id in item_ids:
            self._fresh.pop(item_id, None)
            self._pictures.pop(item_id, None)
        for layer in self._layers:
            layer.leave_out(item_ids)

    def merge(self, other: "Bank") -> None:
        """Add the items of another bank of the same encoder; items in both are replaced.

        What the other bank has in a folder stays there until this one is saved.

        Raises:
            ValueError: the other bank is of another encoder, or has another grid.
        """
        self.refuse_other_encoder(other.encoder_id)
        if self.grid != other.grid:
            raise ValueError(f"pictures are embedded in a grid {self.grid} here, but in {other.grid} in the other bank")
        if (self.num_vectors, self.dtype) != (other.num_vectors, other.dtype):
            pictures = dict(other._list_pictures()) if self.grid is not None else {}
            for ids in _cut(list(other)):
                chosen = [pictures[item_id] for item_id in ids] if self.grid is not None else None
                self.put(ids, other._read(ids).restore(), pictures=chosen)
            return
        self._forget(list(other))
        self._layers += [layer.copy() for layer in other._layers]
        self._fresh.update(other._fresh)
        self._pictures.update(other._pictures)

    def shorten(self, num_vectors: int) -> "Bank":
        """Return a bank with the first vectors of each item alone, which takes less room in a prompt and on disk.

        Most of what an item says is lost, unless its encoder has learnt to say it in fewer vectors: a hundred steps of
        `nested_lengths` are not enough (docs/memory.md).

        Raises:
            ValueError: an item has fewer vectors, or none would be left.
        """
        if not 1 <= num_vectors <= self.num_vectors:
            raise ValueError(f"{num_vectors} vectors of an item of this bank; expected 1 to {self.num_vectors}")
        short = Bank._of(replace(self.description, num_vectors=num_vectors))
        for ids in _cut(list(self)):
            packed = self._read(ids).shorten(num_vectors)
            short._fresh.update((each, packed.choose(slice(row, row + 1))) for row, each in enumerate(ids))
        short._pictures.update(self._list_pictures())
        return short

    def refuse_other_encoder(self, encoder_id: str) -> None:
        """Raise ValueError unless the encoder with this id made this bank's vectors."""
        self.description.refuse_other_encoder(encoder_id)

    def of(self, item_ids: Sequence[str]) -> Tensor:
        """Return the memories of some items, concatenated in the order given: (K·M, D).

        They are of the type in which they are stored, or float32 if that is 8 bit.

        Raises:
            KeyError: an item is not in the bank; the message names it.
            ValueError: what was stored is damaged, or holds a number that is not finite.
        """
        if not item_ids:
            return torch.zeros(0, self.width, dtype=torch.float32 if self.dtype == torch.int8 else self.dtype)
        return self._read(item_ids).restore().flatten(0, 1)

    def _read(self, item_ids: Sequence[str]) -> Packed:
        found: list[Packed | None] = [self._fresh.get(item_id) for item_id in item_ids]
        for layer in self._layers:
            left = [place for place, each in enumerate(found) if each is None]
            for place, packed in zip(left, layer.read([item_ids[place] for place in left]), strict=True):
                found[place] = packed
        if missing := [item_id for item_id, each in zip(item_ids, found, strict=True) if each is None]:
            raise describe_missing(missing, len(item_ids))
        return join_packed([each for each in found if each is not None])

    def search(self, queries_QE: np.ndarray, *, k: int, languages: Sequence[str] | None = None) -> list[Hits]:
        """Find the k items whose pictures are nearest to each query, best first (see `VectorIndex.search`).

        Raises:
            ValueError: the bank is not searchable or is empty, or as `VectorIndex.search`.
        """
        if self.grid is None:
            raise ValueError("this bank holds no pictures to search; name the items to show with item_ids=...")
        if not len(self):
            raise ValueError("this bank is empty: there is nothing to search")
        if self._index is None:
            self._index = find_stored_index(self._layers, self._fresh) or self._collect_pictures().make_index()
        return self._index.search(queries_QE, k=k, languages=languages)

    def _collect_pictures(self) -> Pictures:
        """Collect the search entries of all items."""
        parts = [layer.collect_pictures() for layer in self._layers if len(layer)]
        if self._pictures:
            parts.append(Pictures.of(self._pictures))
        return Pictures.join(parts)

    def _list_pictures(self) -> Iterator[tuple[str, Picture]]:
        if self.grid is not None and len(self):
            yield from self._collect_pictures().list_each()

    def save(self, path: str | Path) -> None:
        """Write the bank into a folder, so that who reads there sees the bank before or after, and never a half.

        A bank that was loaded from this folder writes what was put since; the shards (of 64 MB) in which items were
        replaced or removed are written again without them, and all others stay.

        Raises:
            ValueError: the folder holds other files, or another process has changed the bank since it was loaded.
        """
        folder = Path(path)
        at_home = self._home is not None and folder.resolve() == self._home
        opened = self._layers[0].stored.description if at_home else None
        write_index = None
        if self.grid is not None and len(self):
            stored = find_stored_index(self._layers, self._fresh)
            write_index = stored.save if stored else self._collect_pictures().write_index
        save_bank(folder, self.description, self._layers, self._fresh, write_index=write_index, opened=opened)
        if at_home:
            self.__dict__.update(vars(Bank.load(folder)))

    @classmethod
    def load(cls, path: str | Path) -> "Bank":
        """Open the folder that `save` wrote, or the bank of a run; its memories are read when they are asked for.

        A file that an earlier version wrote is read whole.

        Raises:
            ValueError: the bank is missing, or cut off or damaged as far as sizes show it.
        """
        path = Path(path)
        if path.is_file():
            older = read_older_bank(path)
            bank = cls(**older.stated)
            bank.put(older.item_ids, older.memory_NMD, pictures=older.pictures)
            return bank
        stored = StoredMemories.open(path)
        bank = cls._of(stored.description)
        bank._layers, bank._home = [Layer(stored)], path.resolve()
        return bank

    def verify(self) -> None:
        """Read everything that is stored, and compare it with its hashes.

        Raises:
            ValueError: a file is missing or differs from what was stored, or a number is not finite.
        """
        for layer in self._layers:
            layer.stored.verify()


def _cut(item_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (item_ids[start : start + ITEMS_AT_ONCE] for start in range(0, len(item_ids), ITEMS_AT_ONCE))
