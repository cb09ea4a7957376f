"""Tells whether a frozen model's own weights are what they were, without hashing all of them at start and end.

Three things are looked at. Each weight is still the same tensor, and asks for no gradient. Its version, which torch
raises at every write in place, has not moved. A few blocks of it, at places that a seed chooses, have the same hash.
The version misses a write through `.data` or by a kernel that torch does not know; the blocks find one that changes a
whole weight, as an optimizer, a cast or another rounding does. Both miss such a write to a few numbers only, so a model
that is hashed in no time is hashed whole.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor

from comem_core.backbone.reader import Reader

Proof = Literal["sampled", "whole"]
BLOCK_BYTES, NUM_BLOCKS = 2**16, 4
WHOLE_UP_TO = 2**28  # bytes, which are hashed in a fraction of a second


@dataclass(frozen=True)
class FrozenWeights:
    """What a model's own weights were. `tensors` are the weights themselves, each with its version; `hashes` has a hash
    of blocks of each, or of all of them under an empty name."""

    reader: Reader
    is_whole: bool
    tensors: Mapping[str, tuple[Tensor, int]]
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, reader: Reader, *, proof: Proof = "sampled") -> "FrozenWeights":
        """Look at a model's own weights, without a LoRA. With the proof `whole`, all of them are hashed."""
        tensors = {name: (each, _read_version(each)) for name, each in _list_own(reader)}
        is_whole = proof == "whole" or sum(each.nbytes for each, _ in tensors.values()) <= WHOLE_UP_TO
        return cls(reader, is_whole, tensors, _hash(reader, is_whole=is_whole))

    def find_changes(self) -> list[str]:
        """Return what has changed since, in words; nothing if the weights are what they were."""
        now, found = dict(_list_own(self.reader)), []
        for name in sorted(self.tensors.keys() | now.keys()):
            before, version = self.tensors.get(name, (None, 0))
            if before is None or name not in now or now[name] is not before:
                found.append(f"{name} is another tensor")
            elif before.requires_grad:
                found.append(f"{name} is trained")
            elif _read_version(before) != version:
                found.append(f"{name} was written to")
        hashes = _hash(self.reader, is_whole=self.is_whole)
        differing = sorted(
            name for name in hashes.keys() | self.hashes.keys() if hashes.get(name) != self.hashes.get(name)
        )
        return found + [f"{name or 'the hash of all weights'} has other numbers" for name in differing]


def _list_own(reader: Reader) -> Iterator[tuple[str, Tensor]]:
    for name, each in (*reader.model.named_parameters(), *reader.model.named_buffers()):
        if "lora_" not in name:
            yield name, each


def _read_version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _hash(reader: Reader, *, is_whole: bool) -> dict[str, str]:
    if is_whole:
        return {"": reader.hash_base_weights()}
    held = reader.model.state_dict().items()
    return {name: _hash_blocks(name, tensor) for name, tensor in held if "lora_" not in name}


def _hash_blocks(name: str, tensor: Tensor) -> str:
    """Hash a few blocks of a tensor, at the same places in every call; all of a small one."""
    shared: Any = tensor
    own: Tensor = shared.to_local() if hasattr(tensor, "to_local") else tensor  # as in `Reader.hash_base_weights`
    flat_N = own.detach().flatten()
    count, random = max(1, BLOCK_BYTES // own.element_size()), Random(name)
    places = range(0, len(flat_N), count)
    chosen = places if len(places) <= NUM_BLOCKS else sorted(random.sample(places, NUM_BLOCKS))
    digest = hashlib.sha256(f"{own.dtype} {tuple(own.shape)}".encode())
    for start in chosen:
        digest.update(flat_N[start : start + count].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
