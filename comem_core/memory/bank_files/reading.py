"""The memories in a bank's folder, memory-mapped: opening reads a few hundred bytes, and an item is read alone.

Shapes: N items, K items asked for, S shards, M vectors of an item, D width.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from comem_core.disk import flush
from comem_core.knowledge.index.ids import find_ids
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.memory.bank_files.layout import (
    BANK_FILE,
    IDS_FILE,
    PICTURES,
    PLACES_FILE,
    BankDescription,
    Shard,
    find_state,
    map_items,
    read_description,
    read_shards,
)
from comem_core.memory.bank_files.number_types import NUMBER_TYPES, Packed, join_packed

OPEN_SHARDS = 64
REPAIR = "Copy the bank again from where it was saved, or encode the items again"
ENCODER = "encoder_id"


class StoredMemories:
    """The content of a bank's folder in one state; later states do not change it."""

    def __init__(self, folder: Path, description: BankDescription):
        """Map the items. Raises ValueError as `open`."""
        self.folder, self.description = folder, description
        try:
            self.ids_N, self.places_N2 = map_items(folder, description.state)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is not a complete bank: {error}. {REPAIR}") from error
        if not len(self.ids_N) == len(self.places_N2) == description.num_items:
            raise ValueError(
                f"{folder} is not a complete bank: {IDS_FILE} has {len(self.ids_N)} items, {PLACES_FILE} "
                f"{len(self.places_N2)}, and {BANK_FILE} says {description.num_items}. {REPAIR}"
            )
        self._open: OrderedDict[int, Any] = OrderedDict()
        self._opening = Lock()

    @classmethod
    def open(cls, folder: Path) -> "StoredMemories":
        """Open a bank's folder.

        Raises:
            ValueError: it holds no bank, or a file is missing or cut off.
        """
        while True:
            description = _read_description(folder)
            try:
                return cls(folder, description)
            except ValueError:
                if read_description(folder) == description:
                    raise

    def __len__(self) -> int:
        return self.description.num_items

    def find(self, item_ids: Sequence[str]) -> np.ndarray:
        """Return the place of each item in `places_N2`, or -1: int64 (K,)."""
        return find_ids(self.ids_N, item_ids)

    def list_ids(self) -> list[str]:
        """List the items in the order in which they were stored."""
        order_N = np.lexsort((self.places_N2[:, 1], self.places_N2[:, 0]))
        return [each.decode() for each in self.ids_N[order_N].tolist()]

    @cached_property
    def shards(self) -> list[Shard]:
        """The shards, in the order of their numbers."""
        try:
            return read_shards(self.folder, self.description.state)
        except (OSError, ValueError) as error:
            self._refuse_changed()
            raise ValueError(f"{self.folder} is not a complete bank: {error}. {REPAIR}") from error

    @cached_property
    def index(self) -> VectorIndex | None:
        """The index of the items' pictures; None if the bank is not searched by them, or is empty."""
        folder = find_state(self.folder, self.description.state) / PICTURES
        return VectorIndex.load(folder) if folder.is_dir() else None

    def read(self, rows_K: np.ndarray) -> Packed:
        """Read the memories at these places (see `find`), in their order; at least one.

        Raises:
            ValueError: a shard is missing, cut off or of another encoder, or a number is not finite.
        """
        places_K2 = self.places_N2[rows_K]
        self._check_places(places_K2)
        packed = join_packed([self._read_row(*place) for place in places_K2.tolist()])
        if bad := packed.find_not_finite():
            named = [each.decode() for each in self.ids_N[rows_K[bad]].tolist()]
            raise describe_not_finite(named, len(packed), where=str(self.folder))
        return packed

    def read_shard(self, number: int) -> Packed:
        """Read all rows of a shard, finite or not. Raises ValueError as `read` for a damaged shard."""
        opened = self._find_open(number)
        return Packed(opened.get_tensor("memory"), opened.get_tensor("scale") if self._is_scaled else None)

    def list_rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield for each shard the ids of its items (bytes) and the row of each, in the order of rows.

        Raises ValueError for places that are not there.
        """
        self._check_places(self.places_N2)
        order_N = np.lexsort((self.places_N2[:, 1], self.places_N2[:, 0]))
        numbers_N = self.places_N2[order_N, 0]
        ends = np.searchsorted(numbers_N, np.arange(len(self.shards)), side="right")
        for first, end in pairwise([0, *ends]):
            chosen = order_N[first:end]
            yield self.ids_N[chosen], self.places_N2[chosen, 1]

    def verify(self) -> None:
        """Read every shard: its hash, and whether all numbers are finite.

        Raises:
            ValueError: a shard differs from its description, or holds numbers that are not finite.
        """
        for number, ((ids, rows), shard) in enumerate(zip(self.list_rows(), self.shards, strict=True)):
            found = Shard.of(self.check_size(shard), rows=shard.rows)
            if found.sha256 != shard.sha256:
                raise ValueError(
                    f"{self.folder / shard.file} differs from what was stored (sha256 {found.sha256[:8]}, was "
                    f"{shard.sha256[:8]}). {REPAIR}"
                )
            packed = self.read_shard(number).choose(rows.tolist())
            if bad := packed.find_not_finite():
                raise describe_not_finite([ids[place].decode() for place in bad], len(packed), where=str(self.folder))

    @property
    def _is_scaled(self) -> bool:
        return self.description.number_type == "int8"

    def _read_row(self, number: int, row: int) -> Packed:
        opened = self._find_open(number)
        try:
            values = opened.get_slice("memory")[row : row + 1]
            return Packed(values, opened.get_slice("scale")[row : row + 1] if self._is_scaled else None)
        except (SafetensorError, IndexError) as error:
            raise ValueError(f"{self.folder / self.shards[number].file} lacks row {row}: {error}. {REPAIR}") from error

    def _check_places(self, places_N2: np.ndarray) -> None:
        """Refuse places that the shards do not have, as a damaged file may name them. Raises ValueError."""
        numbers_N, rows_N = places_N2.T
        are_there = (numbers_N >= 0) & (numbers_N < len(self._rows_S)) & (rows_N >= 0)
        are_there[are_there] = rows_N[are_there] < self._rows_S[numbers_N[are_there]]
        if not are_there.all():
            number, row = places_N2[~are_there][0].tolist()
            raise ValueError(
                f"{self.folder} is not a complete bank: {PLACES_FILE} names row {row} of shard {number}, which is not "
                f"there. {REPAIR}"
            )

    @cached_property
    def _rows_S(self) -> np.ndarray:
        return np.array([each.rows for each in self.shards], np.int64)

    def _find_open(self, number: int) -> Any:
        """Return an open shard; those used longest ago are closed."""
        with self._opening:
            if number in self._open:
                self._open.move_to_end(number)
            else:
                self._open[number] = self._open_shard(self.shards[number])
                if len(self._open) > OPEN_SHARDS:
                    self._open.popitem(last=False)
            return self._open[number]

    def _open_shard(self, shard: Shard) -> Any:
        path = self.check_size(shard)
        try:
            opened = safe_open(path, framework="pt")
            shape, encoder_id = opened.get_slice("memory").get_shape(), (opened.metadata() or {}).get(ENCODER, "?")
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is damaged: {error}. {REPAIR}") from error
        self.description.refuse_other_encoder(encoder_id)
        expected = [shard.rows, self.description.num_vectors, self.description.width]
        if shape != expected:
            raise ValueError(f"{path} holds memories of shape {shape}, expected {expected}. {REPAIR}")
        return opened

    def check_size(self, shard: Shard) -> Path:
        """Return where a shard is. Raises ValueError if it is missing or cut off, or the bank was changed."""
        path = self.folder / shard.file
        size = path.stat().st_size if path.is_file() else None
        if size == shard.bytes:
            return path
        self._refuse_changed()
        found = "is missing" if size is None else f"has {size} bytes, and {shard.bytes} in {BANK_FILE}'s list"
        raise ValueError(f"{path} {found}. {REPAIR}")

    def _refuse_changed(self) -> None:
        if read_description(self.folder) != self.description:
            raise ValueError(f"the bank in {self.folder} was changed since it was opened; open it again")


def _read_description(folder: Path) -> BankDescription:
    if not folder.exists():
        raise ValueError(f"there is no bank {folder}")
    description = read_description(folder)
    if description is None and any(folder.glob("part-*.parquet")):
        raise ValueError(
            f"{folder} holds memories as an earlier version stored them; run rebuild-memory, which encodes the items "
            "again"
        )
    if description is None:
        raise ValueError(f"{folder} holds no bank: {BANK_FILE} is missing")
    if description.number_type not in NUMBER_TYPES:
        raise ValueError(
            f"{folder / BANK_FILE} names the number type {description.number_type!r}, expected one of "
            f"{', '.join(NUMBER_TYPES)}"
        )
    return description


def write_shard(path: Path, packed: Packed, *, encoder_id: str) -> Shard:
    """Write memories as a shard and force it to the disk; the file has this name at once."""
    tensors = {name: tensor.contiguous() for name, tensor in packed.tensors.items()}
    save_file(tensors, path, metadata={ENCODER: encoder_id})
    flush(path)
    return Shard.of(path, rows=len(packed))


def describe_not_finite(named: Sequence[str], num_items: int, *, where: str = "") -> ValueError:
    """Describe items whose memories hold a number that is not finite."""
    listed = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
    return ValueError(
        f"{where}{': ' if where else ''}the memories of {len(named)} of {num_items} items hold numbers that are not "
        f"finite ({listed}); encode these items again"
    )


def describe_missing(missing: Sequence[str], num_items: int) -> KeyError:
    """Describe items that are not in a bank."""
    return KeyError(f"{len(missing)} of {num_items} items are not in this bank, first {missing[0]}")
