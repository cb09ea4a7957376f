"""The folder of a bank: what is in it, and how it changes from one state to the next without a reader seeing half.

    bank.json                  what the bank holds, and the number of its state; replaced last
    memory-*.safetensors       shards: `memory` (N, M, D), and `scale` (N, M) where vectors are stored in 8 bit
    state-000001/              item_ids.npy (sorted), places.npy (the shard and the row of each), shards.json,
                               and pictures/, an index of the items' pictures, if the bank is searched by them

A shard is never changed: a new state names new shards beside old ones. The state before the last one stays, for those
who opened it. Needs no torch.

Shapes: N items.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from comem_core.data_roots import is_file_name
from comem_core.disk import flush
from comem_core.knowledge.index.ids import encode_ids, map_array
from comem_core.ranges import NoneOrMore, OneOrMore
from comem_core.stated_fields import parse_json, read_fields, refuse_unknown, write_fields

BANK_FILE, IDS_FILE, PLACES_FILE, SHARDS_FILE, PICTURES = (
    "bank.json",
    "item_ids.npy",
    "places.npy",
    "shards.json",
    "pictures",
)
FORMAT = 2  # format 1 was one safetensors file, with the ids in its header
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SHARD_BYTES = 64_000_000
FEW_SMALL_SHARDS = 16
"""More shards than these that are less than half full are written again as full ones."""


@dataclass(frozen=True, kw_only=True)
class BankDescription:
    """The content of `bank.json`. `num_vectors` is M, `width` is D, `number_type` names how they are stored."""

    format: int = FORMAT
    encoder_id: str
    num_vectors: OneOrMore
    width: OneOrMore
    number_type: str
    grid: tuple[OneOrMore, OneOrMore] | None = None
    num_items: NoneOrMore = 0
    state: NoneOrMore = 0

    @property
    def item_bytes(self) -> int:
        """The bytes of one item's memory, in 8 bit with a scale (float32) for each vector."""
        of_vector = self.width + 4 if self.number_type == "int8" else self.width * BYTES[self.number_type]
        return self.num_vectors * of_vector

    def refuse_other_encoder(self, encoder_id: str) -> None:
        """Raise ValueError unless the encoder with this id made this bank's vectors."""
        if encoder_id != self.encoder_id:
            raise ValueError(
                f"this bank holds vectors of encoder {self.encoder_id}, but encoder {encoder_id} was given; vectors of "
                "two encoders do not mix: encode the items again"
            )


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One file of memories, as `shards.json` lists it."""

    file: str
    rows: NoneOrMore
    bytes: NoneOrMore
    sha256: str

    @classmethod
    def of(cls, path: Path, *, rows: int) -> "Shard":
        """Describe a file that was written whole."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(file=path.name, rows=rows, bytes=path.stat().st_size, sha256=digest)


@dataclass(frozen=True, eq=False)
class Contents:
    """Which items a bank has: their ids, sorted, with the shard and the row of each, and the shards."""

    ids_N: np.ndarray  # UTF-8 bytes of one length
    places_N2: np.ndarray  # int32: the number of the shard in `shards`, and the row in it
    shards: Sequence[Shard]

    @classmethod
    def of(cls, shards: Sequence[Shard], ids_of_each: Sequence[np.ndarray]) -> "Contents":
        """Sort the items of shards, given the ids of each shard's rows (see `encode_ids`).

        Raises:
            ValueError: an item is in two rows.
        """
        ids_N = np.concatenate([encode_ids([]), *ids_of_each])
        places = [
            np.stack([np.full(len(ids), number), np.arange(len(ids))], axis=1).astype(np.int32)
            for number, ids in enumerate(ids_of_each)
        ]
        places_N2 = np.concatenate([np.zeros((0, 2), np.int32), *places])
        order_N = np.argsort(ids_N, kind="stable")
        ids_N = ids_N[order_N]
        if len(twice := ids_N[1:][ids_N[1:] == ids_N[:-1]]):
            raise ValueError(f"item {twice[0].decode()} has two memories; a bank holds one for each item")
        return cls(ids_N, places_N2[order_N], shards)


def read_description(folder: Path) -> BankDescription | None:
    """Read `bank.json`; None if the folder has none.

    Raises:
        ValueError: it is damaged, or of another format.
    """
    if not (folder / BANK_FILE).is_file():
        return None
    stated: Mapping[str, Any] = read_fields(folder / BANK_FILE, BankDescription)
    if stated["format"] != FORMAT:
        raise ValueError(
            f"{folder / BANK_FILE} has format {stated['format']}, expected {FORMAT}; install the version of comem that "
            "wrote it, or encode the items again"
        )
    return BankDescription(**{**stated, "grid": None if stated["grid"] is None else tuple(stated["grid"])})


def find_state(folder: Path, state: int) -> Path:
    """Return the folder of a bank's state."""
    return folder / f"state-{state:06d}"


def write_state(
    folder: Path,
    description: BankDescription,
    contents: Contents,
    *,
    write_index: Callable[[Path], None] | None = None,
) -> BankDescription:
    """Make these shards, which are in the folder, the content of its bank, and return its description.

    Whoever reads sees the state before or this one. Files that neither needs are removed. `write_index` writes the
    index of pictures into an empty folder.
    """
    before = read_description(folder)
    described = replace(description, num_items=len(contents.ids_N), state=_find_last_state(folder) + 1)
    hidden = folder / f".state.{uuid.uuid4().hex[:8]}.tmp"
    hidden.mkdir()
    np.save(hidden / IDS_FILE, contents.ids_N)
    np.save(hidden / PLACES_FILE, contents.places_N2)
    (hidden / SHARDS_FILE).write_text(json.dumps([asdict(each) for each in contents.shards]), encoding="utf-8")
    if write_index is not None:
        (hidden / PICTURES).mkdir()
        write_index(hidden / PICTURES)
    for path in (*hidden.rglob("*"), hidden):
        flush(path)
    os.replace(hidden, find_state(folder, described.state))
    named = folder / f".bank.{uuid.uuid4().hex[:8]}.tmp"
    write_fields(named, described)
    flush(named)
    os.replace(named, folder / BANK_FILE)
    flush(folder)
    _remove_unneeded(folder, kept={described.state} | ({before.state} if before else set()))
    return described


def map_items(folder: Path, state: int) -> tuple[np.ndarray, np.ndarray]:
    """Map the ids and places of a state's items (see `Contents`).

    Raises:
        OSError, ValueError: a file is missing or damaged.
    """
    place = find_state(folder, state)
    ids_N, places_N2 = map_array(place / IDS_FILE), map_array(place / PLACES_FILE)
    if (ids_N.dtype.kind, places_N2.dtype, places_N2.shape) != ("S", np.int32, (*ids_N.shape[:1], 2)):
        raise ValueError(f"{IDS_FILE} and {PLACES_FILE} do not hold as many ids and places")
    return ids_N, places_N2


def open_contents(folder: Path) -> Contents | None:
    """Open the items and shards of a bank without its memories; None if it holds none, or is damaged."""
    try:
        description = read_description(folder)
        if description is None:
            return None
        return Contents(*map_items(folder, description.state), read_shards(folder, description.state))
    except (OSError, ValueError):
        return None


def read_shards(folder: Path, state: int) -> list[Shard]:
    """Read the list of a state's shards. Raises ValueError for a damaged one, and for a file outside the folder."""
    path = find_state(folder, state) / SHARDS_FILE
    stated = parse_json(path.read_text(encoding="utf-8"))
    if not isinstance(stated, list):
        raise ValueError(f"{path} is a {type(stated).__name__}, expected a list")
    for each in stated:
        refuse_unknown(each, Shard, where=str(path))
        if not is_file_name(each["file"]):
            raise ValueError(f"{path} names the file {each['file']!r}, which is not in its folder")
    return [Shard(**each) for each in stated]


def name_shard() -> str:
    """Make a name that no shard of any bank has."""
    return f"memory-{uuid.uuid4().hex[:12]}.safetensors"


def _find_last_state(folder: Path) -> int:
    """Return the number of the last state, also of one that an interrupted save left, or 0."""
    return max((int(path.name.rpartition("-")[2]) for path in folder.glob("state-[0-9]*")), default=0)


def _remove_unneeded(folder: Path, *, kept: set[int]) -> None:
    """Remove what no kept state needs: older states, their shards, and what an interrupted save left."""
    needed = {shard.file for state in kept for shard in read_shards(folder, state)}
    for path in folder.glob("state-[0-9]*"):
        if int(path.name.rpartition("-")[2]) not in kept:
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("memory-*.safetensors"):
        if path.name not in needed:
            path.unlink(missing_ok=True)
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
