"""Makes memories in a worker, or reads those of earlier banks. Only workers import this module: it needs torch.

Shapes: N items, M vectors of an item, D width.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import starmap

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from comem_core.addresses.copies import open_folder
from comem_core.knowledge.stored_rows import StoredRows
from comem_core.memory.bank_files.layout import BankDescription
from comem_core.memory.bank_files.number_types import NUMBER_TYPES, Packed, pack
from comem_core.memory.bank_files.reading import StoredMemories, write_shard
from tasks.engine.partial import Partial
from tasks.engine.shards import WholeShards
from tasks.engine.store import Reference
from tasks.memory.parts import MemoryPart, is_list, list_parts, name_memory, name_part
from tasks.models import load_trained_encoder
from tasks.rows.tables import read_items
from tasks.run import Run
from warehouse.schemas import check_rows

MEMORY: Mapping[str, pa.DataType] = {"memory": pa.binary(), "scale": pa.binary()}
"""The columns of a batch besides those of its table: an item's numbers as they are stored (see `Packed`)."""


class EarlierBank:
    """The memories in some shards of an earlier bank, with the seconds that each one took."""

    def __init__(self, folder: str, shards: Sequence[int]):
        opened = open_folder(folder, is_list)
        self.stored, self.shards = StoredMemories.open(opened), shards
        wanted = {self.stored.shards[number].file for number in shards}
        wanted |= {f"{name_part(file)}.parquet" for file in wanted}
        open_folder(folder, wanted.__contains__)
        parts = [path for path in list_parts(opened) if path.name in wanted]
        self._seconds = StoredRows(parts, ("item_id", "seconds"), dict, id_column="item_id")

    def read(self, item_ids: Sequence[str]) -> dict[str, tuple[Packed, float]]:
        """Return those of the items that are here, with their seconds."""
        rows_K = self.stored.find(item_ids)
        there_K = (rows_K >= 0) & np.isin(self.stored.places_N2[rows_K, 0], self.shards)
        there = np.flatnonzero(there_K).tolist()
        if not there:
            return {}
        packed = self.stored.read(rows_K[there])
        return {
            item_ids[place]: (packed.choose(slice(row, row + 1)), self._seconds.of(item_ids[place])["seconds"])
            for row, place in enumerate(there)
        }


class Encoding(WholeShards):
    """The work of encoding rows of the corpus. Memories that earlier banks have are read there."""

    def __init__(
        self,
        run: Run,
        knowledge: Reference,
        encoder: Reference,
        *,
        number_type: str,
        earlier: Mapping[str, Sequence[int]] | None = None,
    ):
        """`earlier` maps the folders of earlier banks to the numbers of the shards that are read."""
        self.run, self.encoder, self.number_type = run, encoder, number_type
        self.items, self.earlier = read_items(knowledge).rows, list(starmap(EarlierBank, (earlier or {}).items()))
        if not earlier:
            assert self._trained is not None  # a worker loads its model before its first batch

    @cached_property
    def _trained(self):
        return load_trained_encoder(self.run, self.encoder)

    @cached_property
    def _bank(self) -> BankDescription:
        """What the vectors are: as an earlier bank says it, so that reading needs no model, or as the encoder does."""
        if self.earlier:
            return replace(self.earlier[0].stored.description, num_items=0, state=0)
        return self._trained.make_bank(dtype=NUMBER_TYPES[self.number_type]).description

    def __call__(self, batch: Sequence[int]) -> pa.Table:
        """Return the rows of a batch of items."""
        chosen = {(item := self.items[row]).item_id: item for row in batch}
        found: dict[str, tuple[Packed, float]] = {}
        for bank in self.earlier:
            found |= bank.read([item_id for item_id in chosen if item_id not in found])
        if new := [item for item_id, item in chosen.items() if item_id not in found]:
            started = time.perf_counter()
            packed = pack(self._trained.encode_batch(new), NUMBER_TYPES[self.number_type])
            seconds = (time.perf_counter() - started) / len(new)
            found |= {item.item_id: (packed.choose(slice(row, row + 1)), seconds) for row, item in enumerate(new)}
        rows = [
            {"item_id": item_id, "row": row, "seconds": found[item_id][1]} | _to_bytes(found[item_id][0])
            for row, item_id in zip(batch, chosen, strict=True)
        ]
        return check_rows("bank_entry", rows, extra=MEMORY)

    def complete(self, artefact: Partial, name: str, rows: pa.Table) -> pa.Table:
        """Write the vectors of a shard into a file of their own, and return the other columns."""
        with artefact.open_file(name_memory(name)) as path:
            shard = write_shard(path, _from_bytes(rows, self._bank), encoder_id=self._bank.encoder_id)
        part = MemoryPart(shard=replace(shard, file=name_memory(name)), bank=self._bank)
        return part.mark(rows.drop_columns(list(MEMORY)))


def _to_bytes(packed: Packed) -> dict[str, bytes | None]:
    """Return the numbers of one item, row by row, as they are in memory."""
    scale_NM = packed.scale_NM
    return {"memory": _dump(packed.values_NMD), "scale": None if scale_NM is None else _dump(scale_NM)}


def _dump(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def _from_bytes(rows: pa.Table, bank: BankDescription) -> Packed:
    def load(name: str, dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.frombuffer(bytearray(b"".join(rows[name].to_pylist())), dtype=dtype).view(rows.num_rows, *shape)

    m, d = bank.num_vectors, bank.width
    scale_NM = load("scale", torch.float32, m) if bank.number_type == "int8" else None
    return Packed(load("memory", NUMBER_TYPES[bank.number_type], m, d), scale_NM)
