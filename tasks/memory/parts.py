"""The parts of a bank while it is made: `part-*.parquet` has the rows for the warehouse, `memory-*` the vectors.

A part's Parquet file is written last and says which shard belongs to it. Needs no torch.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.index.ids import encode_ids
from comem_core.memory.bank_files.layout import BANK_FILE, BankDescription, Contents, Shard, write_state
from tasks.engine.partial import Partial

PARTS, LINKED = "part-*.parquet", "part-linked-*-before.parquet"
STATES = "state-*"
SHARD_OF_PART = b"comem.memory"


@dataclass(frozen=True, kw_only=True)
class MemoryPart:
    """What a part's Parquet file says of its vectors: the shard, and the bank that it is of."""

    shard: Shard
    bank: BankDescription

    def mark(self, rows: pa.Table) -> pa.Table:
        """Return a part's rows, which say this."""
        stated = json.dumps({"shard": asdict(self.shard), "bank": asdict(self.bank)}).encode()
        return rows.replace_schema_metadata({**(rows.schema.metadata or {}), SHARD_OF_PART: stated})

    @classmethod
    def read(cls, path: Path) -> "MemoryPart":
        """Read what a part's file says."""
        stated: Mapping[str, Any] = json.loads((pq.read_schema(path).metadata or {})[SHARD_OF_PART])
        grid = stated["bank"]["grid"]
        bank = BankDescription(**{**stated["bank"], "grid": None if grid is None else tuple(grid)})
        return cls(shard=Shard(**stated["shard"]), bank=bank)


def is_list(file: str) -> bool:
    """Tell whether a file of a bank lists what it holds, and is neither vectors nor rows."""
    return not file.startswith(("memory-", "part-"))


def name_memory(part: str) -> str:
    """Name the shard of vectors of the part `part-00000`."""
    return f"memory-{part}.safetensors"


def name_part(memory: str) -> str:
    """Name the part whose vectors are in this shard."""
    return memory.removeprefix("memory-").removesuffix(".safetensors")


def list_parts(folder: Path, *, linked: bool = False) -> list[Path]:
    """List the Parquet files of the parts, or of those alone that came from earlier banks."""
    return sorted(folder.glob(LINKED if linked else PARTS))


def read_part_ids(path: Path) -> list[str]:
    """Return the ids of a part's items, in the order of its rows."""
    return pq.read_table(path, columns=["item_id"])["item_id"].to_pylist()


def read_linked_ids(artefact: Partial) -> list[str]:
    """Return the ids of the items in parts that came from earlier banks."""
    return [item_id for path in list_parts(artefact.folder, linked=True) for item_id in read_part_ids(path)]


def name_linked_part(number: int) -> str:
    """Name a part that came from an earlier bank."""
    return f"part-linked-{number:05d}-before"


def drop_incomplete_parts(artefact: Partial) -> None:
    """Remove the rows of parts whose vectors are missing or cut off, so that they are made again.

    If one of these came from an earlier bank, all parts that were made here go too: they were shared out without it.
    """
    paths, linked = list_parts(artefact.folder), set(list_parts(artefact.folder, linked=True))
    shards = {path: MemoryPart.read(path).shard for path in paths}
    incomplete = {path for path, shard in shards.items() if not artefact.has_file(shard.file, shard.bytes)}
    if incomplete & linked:
        incomplete |= set(paths) - linked
    artefact.remove(*(path.name for path in incomplete))


def finish_bank(artefact: Partial) -> None:
    """Make the parts' shards the content of a bank: its first state, also where an earlier making got as far."""
    _drop_states(artefact)
    paths = list_parts(artefact.folder)
    parts = [MemoryPart.read(path) for path in paths]
    described = {part.bank for part in parts}
    assert len(described) == 1, f"one encoder makes one kind of memory, found {described}"
    ids = [encode_ids(read_part_ids(path)) for path in paths]
    write_state(artefact.folder, described.pop(), Contents.of([part.shard for part in parts], ids))


def _drop_states(artefact: Partial) -> None:
    """Remove the states of a bank that was not completed, or was damaged, so that it is made as any other."""
    folders = sorted(artefact.folder.glob(STATES))
    files = [
        path.relative_to(artefact.folder).as_posix() for each in folders for path in each.rglob("*") if path.is_file()
    ]
    artefact.remove(BANK_FILE, *files)
    for folder in folders:
        shutil.rmtree(folder)
