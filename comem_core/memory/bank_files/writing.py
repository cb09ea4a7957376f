"""Writes a bank into a folder: shards that are as they were stay or are linked, all other memories become new ones.

Shapes: N items, M vectors of an item, D width.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import filelock
import numpy as np

from comem_core.disk import link_file
from comem_core.knowledge.index.ids import encode_ids
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.memory.bank_files.layout import (
    BANK_FILE,
    FEW_SMALL_SHARDS,
    SHARD_BYTES,
    BankDescription,
    Contents,
    Shard,
    name_shard,
    read_description,
    write_state,
)
from comem_core.memory.bank_files.number_types import Packed, join_packed
from comem_core.memory.bank_files.pictures import Pictures
from comem_core.memory.bank_files.reading import REPAIR, StoredMemories, describe_not_finite, write_shard

LOCK = ".lock"
RECORD = "record.json"  # of an artefact of a store
SECONDS_TO_WAIT = 60


@dataclass(frozen=True, eq=False)
class Layer:
    """Stored memories, without the items that were replaced or removed since."""

    stored: StoredMemories
    gone: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.stored) - len(self.gone)

    def __contains__(self, item_id: object) -> bool:
        return item_id not in self.gone and isinstance(item_id, str) and self.stored.find([item_id])[0] >= 0

    def __iter__(self) -> Iterator[str]:
        return (item_id for item_id in self.stored.list_ids() if item_id not in self.gone)

    def copy(self) -> "Layer":
        """Return the same memories, of which others can be left out."""
        return Layer(self.stored, set(self.gone))

    def leave_out(self, item_ids: Sequence[str]) -> None:
        """Leave out those of the items that are here."""
        rows = self.stored.find(item_ids)
        self.gone.update(item_ids[place] for place in np.flatnonzero(rows >= 0).tolist())

    def read(self, item_ids: Sequence[str]) -> list[Packed | None]:
        """Read the memory of each item that is here; None for others. Raises ValueError as `StoredMemories.read`."""
        rows_K = self.stored.find(item_ids)
        places = [place for place in np.flatnonzero(rows_K >= 0).tolist() if item_ids[place] not in self.gone]
        found: list[Packed | None] = [None] * len(item_ids)
        if places:
            packed = self.stored.read(rows_K[places])
            for row, place in enumerate(places):
                found[place] = packed.choose(slice(row, row + 1))
        return found

    def collect_pictures(self) -> Pictures:
        """Return the search entries of the items, at least one. Raises ValueError if the index is missing."""
        if self.stored.index is None:
            raise ValueError(f"{self.stored.folder} has no index of its items' pictures. {REPAIR}")
        return Pictures.of_index(self.stored.index, without=self.gone)


def find_stored_index(layers: Sequence[Layer], fresh: Mapping[str, Packed]) -> VectorIndex | None:
    """Return the index of a bank that is all in one folder; None if it was changed, is in memory or is empty."""
    is_as_stored = len(layers) == 1 and not fresh and not layers[0].gone
    return layers[0].stored.index if is_as_stored else None


@dataclass(frozen=True, eq=False)
class _Part:
    """A stored shard: its number, and the ids and rows of the items that stay."""

    stored: StoredMemories
    number: int
    ids_N: np.ndarray
    rows_N: np.ndarray

    @property
    def shard(self) -> Shard:
        return self.stored.shards[self.number]

    @property
    def is_whole(self) -> bool:
        return len(self.rows_N) == self.shard.rows

    @property
    def is_small(self) -> bool:
        return self.shard.rows * self.stored.description.item_bytes < SHARD_BYTES // 2

    def read(self) -> Packed:
        """Read the memories that stay. Raises ValueError for a number that is not finite."""
        packed = self.stored.read_shard(self.number).choose(self.rows_N.tolist())
        if bad := packed.find_not_finite():
            raise describe_not_finite([self.ids_N[place].decode() for place in bad], len(packed))
        return packed


def save_bank(
    folder: Path,
    description: BankDescription,
    layers: Sequence[Layer],
    fresh: Mapping[str, Packed],
    *,
    write_index: Callable[[Path], None] | None,
    opened: BankDescription | None,
) -> None:
    """Write stored and fresh memories as the content of a folder (see `Bank.save`).

    `opened` is the state that was loaded from this folder; None if the bank comes from elsewhere.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; a bank is saved into a folder: name another place")
    _refuse_other_files(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / LOCK, timeout=SECONDS_TO_WAIT):
        if opened is not None and read_description(folder) != opened:
            raise ValueError(
                f"another process has changed the bank in {folder} since it was loaded; load it again, and put or "
                "remove the items there"
            )
        shards, ids = [], []
        for shard, ids_N in _write_shards(folder, description, layers, fresh):
            shards.append(shard)
            ids.append(ids_N)
        write_state(folder, description, Contents.of(shards, ids), write_index=write_index)


def _write_shards(
    folder: Path, description: BankDescription, layers: Sequence[Layer], fresh: Mapping[str, Packed]
) -> Iterator[tuple[Shard, np.ndarray]]:
    """Bring every shard into the folder, and yield it with the ids of its rows."""
    parts = [part for layer in layers for part in _list_parts(layer)]
    too_many = sum(part.is_small for part in parts) > FEW_SMALL_SHARDS
    again = [part for part in parts if not part.is_whole or (part.is_small and too_many)]
    for part in parts:
        if part not in again:
            yield _bring_shard(folder, part), part.ids_N
    stored = ((part.ids_N, part.read()) for part in again)
    put = ((encode_ids([item_id]), packed) for item_id, packed in fresh.items())
    for ids_N, packed in _fill_shards(chain(stored, put)):
        yield write_shard(folder / name_shard(), packed, encoder_id=description.encoder_id), ids_N


def _list_parts(layer: Layer) -> Iterator[_Part]:
    """List the shards of a layer of which an item stays."""
    gone = encode_ids(sorted(layer.gone))
    for number, (ids_N, rows_N) in enumerate(layer.stored.list_rows()):
        stays_N = ~np.isin(ids_N, gone)
        if stays_N.any():
            yield _Part(layer.stored, number, ids_N[stays_N], rows_N[stays_N])


def _bring_shard(folder: Path, part: _Part) -> Shard:
    """Return a shard that is in the folder, or link it there under a name of its own."""
    if part.stored.folder.resolve() == folder.resolve():
        return part.shard
    name = name_shard()
    link_file(part.stored.check_size(part.shard), folder / name)
    return replace(part.shard, file=name)


def _fill_shards(pieces: Iterable[tuple[np.ndarray, Packed]]) -> Iterator[tuple[np.ndarray, Packed]]:
    """Put memories together until they fill a shard."""
    waiting: list[tuple[np.ndarray, Packed]] = []
    num_bytes = 0
    for ids_N, packed in pieces:
        waiting.append((ids_N, packed))
        num_bytes += packed.num_bytes
        if num_bytes >= SHARD_BYTES:
            yield _join(waiting)
            waiting, num_bytes = [], 0
    if waiting:
        yield _join(waiting)


def _join(pieces: Sequence[tuple[np.ndarray, Packed]]) -> tuple[np.ndarray, Packed]:
    return np.concatenate([ids_N for ids_N, _ in pieces]), join_packed([packed for _, packed in pieces])


def _refuse_other_files(folder: Path) -> None:
    """Raise ValueError for a folder with files that are not a bank's."""
    if (folder / RECORD).exists():
        raise ValueError(f"{folder} belongs to the store of a run, where nothing changes; save the bank elsewhere")
    if not folder.is_dir() or (folder / BANK_FILE).is_file():
        return
    known = ("memory-", "state-", ".")  # what an interrupted first save left, and hidden files
    if other := sorted(path.name for path in folder.iterdir() if not path.name.startswith(known)):
        raise ValueError(
            f"{folder} holds other files ({', '.join(other[:5])}) and no {BANK_FILE}; name a new folder, or one that a "
            "bank was saved into"
        )
