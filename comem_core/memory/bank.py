"""A bank: memories by item_id, made by one encoder. Rows can be added, replaced and removed; nothing is re-encoded.

Shapes: N items, M vectors of an item, D width.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


@dataclass
class Bank:
    """Memories of one encoder. `num_vectors` is M, `width` is D; vectors are kept in float32."""

    encoder_id: str
    num_vectors: int
    width: int
    memories: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.memories)

    def put(self, item_ids: Sequence[str], memory_NMD: Tensor) -> None:
        """Add items, or replace those that are there."""
        expected = (len(item_ids), self.num_vectors, self.width)
        if tuple(memory_NMD.shape) != expected:
            raise ValueError(f"memory of shape {tuple(memory_NMD.shape)} for this bank; expected {expected}")
        self.memories.update(zip(item_ids, memory_NMD.detach().float().cpu().clone(), strict=True))

    def remove(self, item_ids: Iterable[str]) -> None:
        for item_id in item_ids:
            del self.memories[item_id]

    def of(self, item_ids: Sequence[str]) -> Tensor:
        """The memories of some items in the order given, one behind the other: (K·M, D).

        Raises:
            KeyError: an item is not in the bank; it is named.
        """
        if missing := [item_id for item_id in item_ids if item_id not in self.memories]:
            raise KeyError(f"{len(missing)} of {len(item_ids)} items are not in this bank, first {missing[0]}")
        if not item_ids:
            return torch.zeros(0, self.width)
        return torch.cat([self.memories[item_id] for item_id in item_ids])


def to_bytes(memory_MD: Tensor) -> bytes:
    """One item's memory as little-endian float32, row by row."""
    return memory_MD.detach().float().cpu().numpy().astype("<f4").tobytes()


def from_bytes(raw: bytes, *, num_vectors: int) -> Tensor:
    """Read `to_bytes` back: (M, D) float32."""
    return torch.from_numpy(np.frombuffer(raw, dtype="<f4").reshape(num_vectors, -1).copy())
