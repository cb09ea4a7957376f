"""Reads a bank that an earlier version saved: one safetensors file, with the ids of its items in the header.

Shapes: N items, M vectors of an item, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from comem_core.memory.bank_files.pictures import Picture
from comem_core.stated_fields import parse_json


@dataclass(frozen=True, eq=False)
class OlderBank:
    """What such a file holds; `stated` are the arguments of `Bank`."""

    stated: dict[str, Any]
    item_ids: Sequence[str]
    memory_NMD: Tensor
    pictures: Sequence[Picture] | None


def read_older_bank(path: Path) -> OlderBank:
    """Read such a file. Raises ValueError if it is cut off, or not a bank."""
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
            header = parse_json((stored.metadata() or {})["bank"])
        memory_NMD, grid = tensors["memory"], header["grid"]
        _, num_vectors, width = memory_NMD.shape
        pictures = None if grid is None else []
        if "pictures" in tensors:
            pictures = list(map(Picture, tensors["pictures"].numpy(), header["languages"]))
        stated = {
            "encoder_id": header["encoder_id"],
            "num_vectors": num_vectors,
            "width": width,
            "dtype": memory_NMD.dtype,
            "grid": None if grid is None else tuple(grid),
        }
        return OlderBank(stated, header["item_ids"], memory_NMD, pictures)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a complete bank: {error}. Save the bank again") from error
