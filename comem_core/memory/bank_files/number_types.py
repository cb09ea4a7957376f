"""The number types in which memories are stored: floating numbers, or 8 bit with a scale for each vector.

Shapes: N items, M vectors of an item, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NUMBER_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}
LARGEST = 127  # of 8 bit, so that a vector and its negative are stored alike


@dataclass(frozen=True, eq=False)
class Packed:
    """Memories as they are stored: `values_NMD`, and for int8 the `scale_NM` (float32) by which each vector is
    multiplied."""

    values_NMD: Tensor
    scale_NM: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values_NMD)

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of a shard, by name."""
        return {"memory": self.values_NMD} | ({} if self.scale_NM is None else {"scale": self.scale_NM})

    def choose(self, rows: Sequence[int] | slice) -> "Packed":
        """Return some of the items."""
        scale_NM = None if self.scale_NM is None else self.scale_NM[rows]
        return Packed(self.values_NMD[rows], scale_NM)

    def shorten(self, num_vectors: int) -> "Packed":
        """Return the first vectors of each item, as a copy."""
        scale_NM = None if self.scale_NM is None else self.scale_NM[:, :num_vectors].clone()
        return Packed(self.values_NMD[:, :num_vectors].clone(), scale_NM)

    def restore(self) -> Tensor:
        """Return the memories: memory_NMD, float32 where they are stored in 8 bit, else in their own type."""
        return self.values_NMD if self.scale_NM is None else self.values_NMD.float() * self.scale_NM[..., None]

    def find_not_finite(self) -> list[int]:
        """Return the items with a number that is not finite."""
        checked_NMD = self.values_NMD if self.scale_NM is None else self.scale_NM
        return (~checked_NMD.isfinite().flatten(start_dim=1).all(dim=1)).nonzero().flatten().tolist()


def name_number_type(dtype: torch.dtype) -> str:
    """Return the name of a number type for memories. Raises ValueError if they cannot be stored in it."""
    name = str(dtype).removeprefix("torch.")
    if name not in NUMBER_TYPES:
        raise ValueError(f"memories cannot be stored as {dtype}; expected one of {', '.join(NUMBER_TYPES)}")
    return name


def pack(memory_NMD: Tensor, dtype: torch.dtype) -> Packed:
    """Return a copy of memories on the CPU, in the type in which they are stored.

    In 8 bit, the largest number of a vector becomes 127. What is not finite stays so (see `Packed.find_not_finite`).
    """
    memory_NMD = memory_NMD.detach().cpu()
    if dtype != torch.int8:
        return Packed(memory_NMD.to(dtype, copy=True).contiguous())
    memory_NMD = memory_NMD.float()
    scale_NM = memory_NMD.abs().amax(dim=-1) / LARGEST
    shares_NMD = memory_NMD / scale_NM.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
    return Packed(shares_NMD.nan_to_num().round().clamp(-LARGEST, LARGEST).to(torch.int8), scale_NM)


def join_packed(parts: Sequence[Packed]) -> Packed:
    """Concatenate memories that are stored alike."""
    scales = [part.scale_NM for part in parts if part.scale_NM is not None]
    return Packed(torch.cat([part.values_NMD for part in parts]), torch.cat(scales) if scales else None)


def check_memory(memory_NMD: object, expected: tuple[int, int, int]) -> None:
    """Raise ValueError, which says what was expected, unless this is a tensor of floating numbers of this shape."""
    wanted = f"expected a torch.Tensor of floating numbers, of shape {expected}"
    if not isinstance(memory_NMD, Tensor):
        kind = f"{type(memory_NMD).__module__}.{type(memory_NMD).__qualname__}".removeprefix("builtins.")
        raise ValueError(f"memory is a {kind}; {wanted} (torch.from_numpy makes one of an array)")
    if tuple(memory_NMD.shape) != expected:
        raise ValueError(f"memory of shape {tuple(memory_NMD.shape)} for this bank; expected {expected}")
    if not memory_NMD.is_floating_point():
        raise ValueError(f"memory of number type {memory_NMD.dtype} for this bank; {wanted}")
