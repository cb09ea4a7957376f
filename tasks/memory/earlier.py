"""What earlier banks of the same encoder have of a corpus: whole shards are linked, workers read single memories.

Needs no torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.addresses.copies import find_whole, is_whole, open_folder
from comem_core.addresses.places import is_address
from comem_core.knowledge.index.ids import find_ids
from comem_core.memory.bank_files.layout import FEW_SMALL_SHARDS, Contents, Shard, open_contents
from comem_core.serving.layout import Record
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.store import Reference, Store
from tasks.memory.parts import (
    MemoryPart,
    is_list,
    list_parts,
    name_linked_part,
    name_memory,
    name_part,
    read_linked_ids,
)
from tasks.rows.earlier import is_of_these_libraries

KNOWLEDGE = "knowledge"


@dataclass(frozen=True)
class EarlierBanks:
    """Banks whose memories are those that this run would make, newest first."""

    records: tuple[Record, ...]

    @classmethod
    def find(cls, store: Store, stage: Stage, key: Any, inputs: Mapping[str, Reference]) -> "EarlierBanks":
        """Find the banks of other corpora that everything else decided alike: encoder, prompt, version, libraries."""
        models = {role: each.fingerprint for role, each in inputs.items() if role != KNOWLEDGE}
        return cls(
            tuple(
                record
                for record in reversed(store.list_records(stage.name))
                if (record["version"], record["recipe"]) == (stage.version, asdict(key))
                and is_of_these_libraries(record)
                and {role: name for role, name in record["inputs"].items() if role != KNOWLEDGE} == models
            )
        )

    @cached_property
    def _opened(self) -> list[tuple[Record, Contents]]:
        opened = ((record, open_contents(open_folder(record["uri"], is_list))) for record in self.records)
        return [(record, contents) for record, contents in opened if contents is not None]

    def link_shards(self, artefact: Partial, item_ids: Sequence[str]) -> int:
        """Give the artefact every shard of which all items are wanted, with its rows, and return the number of items.

        A shard that differs from its hash is left alone; so are more than FEW_SMALL_SHARDS of those that are less than
        half full, whose memories become full shards again. What was linked before an interruption stays.
        """
        wanted_N = np.ones(len(item_ids), dtype=bool)
        places = {item_id: row for row, item_id in enumerate(item_ids)}
        wanted_N[[places[item_id] for item_id in read_linked_ids(artefact)]] = False
        num_small, number = 0, len(list_parts(artefact.folder, linked=True))
        for record, contents in self._opened:
            most = max((shard.rows for shard in contents.shards), default=0)
            for shard, rows_S in _find_whole_shards(contents, item_ids, np.flatnonzero(wanted_N)):
                is_small = shard.rows * 2 < most
                if (is_small and num_small == FEW_SMALL_SHARDS) or not _is_undamaged(record, shard):
                    continue
                _link_shard(artefact, record, shard, rows_S, part=name_linked_part(number))
                wanted_N[rows_S] = False
                num_small, number = num_small + is_small, number + 1
        return int((~wanted_N).sum())

    def count_missing(self, item_ids: Sequence[str]) -> int:
        """Count the items that none of the banks has, as far as their lists of items tell."""
        left: list[str] = [*item_ids]
        for _, contents in self._opened:
            left = list(compress(left, find_ids(contents.ids_N, left) < 0))
        return len(left)

    def find_readable(self, item_ids: Sequence[str]) -> tuple[dict[str, list[int]], int]:
        """Return the banks that have some of these items, by their folders, and how many of the items they have.

        Of each bank, these are the numbers of the undamaged shards that have them.
        """
        readable: dict[str, list[int]] = {}
        left: list[str] = [*item_ids]
        for record, contents in self._opened:
            rows_L = find_ids(contents.ids_N, left)
            numbers_L = np.where(rows_L >= 0, contents.places_N2[rows_L, 0], -1) if len(contents.ids_N) else rows_L
            whole = [
                number
                for number in np.unique(numbers_L[numbers_L >= 0]).tolist()
                if _is_undamaged(record, contents.shards[number])
            ]
            if whole:
                readable[record["uri"]] = whole
                left = list(compress(left, ~np.isin(numbers_L, whole)))
        return readable, len(item_ids) - len(left)


def _find_whole_shards(
    contents: Contents, item_ids: Sequence[str], wanted: np.ndarray
) -> Iterator[tuple[Shard, np.ndarray]]:
    """Yield the shards of which every item is wanted, each with the place of its rows in `item_ids`."""
    found = find_ids(contents.ids_N, [item_ids[int(row)] for row in wanted])
    there = found >= 0
    rows, places_N2 = wanted[there], contents.places_N2[found[there]]
    order = np.lexsort((places_N2[:, 1], places_N2[:, 0]))
    rows, numbers = rows[order], places_N2[order, 0]
    starts = np.searchsorted(numbers, np.arange(len(contents.shards) + 1))
    for shard, start, end in zip(contents.shards, starts[:-1], starts[1:], strict=True):
        if end - start == shard.rows > 0:
            yield shard, rows[start:end]


def _is_undamaged(record: Record, shard: Shard) -> bool:
    """Tell whether the vectors of a shard, and the rows of its part, are what the record says."""
    shards = {each["file"]: each for each in record["shards"]}
    rows = f"{name_part(shard.file)}.parquet"
    if rows not in shards or shard.file not in shards or not find_whole(record["uri"], rows, shards[rows]["sha256"]):
        return False
    if is_address(record["uri"]):  # vectors are copied there unread, and hashed where they are fetched
        return shards[shard.file]["sha256"] == shard.sha256
    return is_whole(Path(record["uri"]) / shard.file, shards[shard.file]["sha256"])


def _link_shard(artefact: Partial, record: Record, shard: Shard, rows_S: np.ndarray, *, part: str) -> None:
    """Link the vectors, then write the rows of the part, with their place in this corpus."""
    name, file = name_memory(part), f"{name_part(shard.file)}.parquet"
    path = open_folder(record["uri"], lambda each: each == file) / file
    earlier, rows = MemoryPart.read(path), pq.read_table(path)
    recorded = next(each for each in record["shards"] if each["file"] == shard.file)
    artefact.take_file(recorded, record["uri"], name)
    column = pa.array(rows_S, rows.schema.field("row").type)
    rows = rows.set_column(rows.schema.get_field_index("row"), "row", column)
    artefact.write_shard(part, MemoryPart(shard=replace(shard, file=name), bank=earlier.bank).mark(rows))
