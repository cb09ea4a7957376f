"""A bank: memories by item_id, made by one encoder. Items can be added, replaced and removed without encoding others.

A searchable bank also holds the embedding of each item's picture, to find the items nearest to a question's picture.

Shapes: N items, M vectors of an item, D width, Q queries, E width of a picture's embedding.
"""

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from comem_core.knowledge.index.vector_index import Hits, VectorIndex


@dataclass(frozen=True, eq=False)
class Picture:
    """The search entry of an item in a bank: its picture's embedding_E (float32), and the item's language."""

    embedding_E: np.ndarray
    language: str


@dataclass(repr=False)
class Bank:
    """Memories of one encoder. `num_vectors` is M and `width` is D; vectors are stored as `dtype`.

    `grid` is how pictures are embedded (see `Backbone.pool_images`); a bank with grid None cannot be searched.
    """

    encoder_id: str
    num_vectors: int
    width: int
    dtype: torch.dtype = torch.float32
    grid: tuple[int, int] | None = None
    memories: dict[str, Tensor] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    _index: VectorIndex | None = field(default=None)

    def __repr__(self) -> str:
        searched = "not searchable" if self.grid is None else f"pictures in a grid {self.grid}"
        return (
            f"Bank of {len(self)} items: {self.num_vectors} vectors of width {self.width} each ({self.dtype}), "
            f"{searched}, encoder {self.encoder_id}"
        )

    def __len__(self) -> int:
        return len(self.memories)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self.memories

    def put(self, item_ids: Sequence[str], memory_NMD: Tensor, *, pictures: Sequence[Picture] | None = None) -> None:
        """Add items, or replace those already present. A searchable bank needs the picture of each.

        Raises:
            ValueError: the memories are not a tensor of numbers, have another shape, or hold a number that is not
                finite; or pictures are missing, too many, or given to a bank that is not searchable.
        """
        if isinstance(item_ids, str):
            raise ValueError(f"item_ids is the text {item_ids!r}; expected a list of item ids")
        expected = (len(item_ids), self.num_vectors, self.width)
        memory_NMD = self._check_memory(memory_NMD, expected)
        if (pictures is not None) != (self.grid is not None):
            raise ValueError(
                "this bank is searched by pictures, but none were given"
                if pictures is None
                else "this bank is not searchable (its grid is None), but pictures were given"
            )
        if pictures is not None and len(pictures) != len(item_ids):
            raise ValueError(f"{len(pictures)} pictures for {len(item_ids)} items; expected one per item")
        refuse_not_finite_memories(item_ids, memory_NMD)
        self.memories.update(zip(item_ids, memory_NMD, strict=True))
        self.pictures.update(zip(item_ids, pictures or (), strict=False))
        self._index = None

    def _check_memory(self, memory_NMD: object, expected: tuple[int, int, int]) -> Tensor:
        """Return a copy of memories in the bank's number type. Raises ValueError that says what was expected."""
        wanted = f"expected a torch.Tensor of floating numbers, of shape {expected}"
        if not isinstance(memory_NMD, Tensor):
            kind = f"{type(memory_NMD).__module__}.{type(memory_NMD).__qualname__}".removeprefix("builtins.")
            raise ValueError(f"memory is a {kind}; {wanted} (torch.from_numpy makes one of an array)")
        if tuple(memory_NMD.shape) != expected:
            raise ValueError(f"memory of shape {tuple(memory_NMD.shape)} for this bank; expected {expected}")
        if not memory_NMD.is_floating_point():
            raise ValueError(f"memory of number type {memory_NMD.dtype} for this bank; {wanted}")
        return memory_NMD.detach().to("cpu", self.dtype).clone()

    def remove(self, item_ids: Iterable[str]) -> None:
        """Remove items.

        Raises:
            KeyError: an item is not in the bank; the message names it, and nothing is removed.
        """
        item_ids = list(item_ids)
        self._refuse_missing(item_ids)
        for item_id in item_ids:
            self.memories.pop(item_id, None)
            self.pictures.pop(item_id, None)
        self._index = None

    def merge(self, other: "Bank") -> None:
        """Add the items of another bank of the same encoder; items in both are replaced.

        Raises:
            ValueError: the other bank is of another encoder, or has another grid.
        """
        self.refuse_other_encoder(other.encoder_id)
        if self.grid != other.grid:
            raise ValueError(f"pictures are embedded in a grid {self.grid} here, but in {other.grid} in the other bank")
        for item_id, memory_MD in other.memories.items():
            pictures = None if self.grid is None else [other.pictures[item_id]]
            self.put([item_id], memory_MD[None], pictures=pictures)

    def shorten(self, num_vectors: int) -> "Bank":
        """Return a bank with the first vectors of each item alone, which takes less room in a prompt and on disk.

        Most of what an item says is lost, unless its encoder has learnt to say it in fewer vectors: a hundred steps of
        `nested_lengths` are not enough (docs/memory.md).

        Raises:
            ValueError: an item has fewer vectors, or none would be left.
        """
        if not 1 <= num_vectors <= self.num_vectors:
            raise ValueError(f"{num_vectors} vectors of an item of this bank; expected 1 to {self.num_vectors}")
        memories = {item_id: memory_MD[:num_vectors].clone() for item_id, memory_MD in self.memories.items()}
        return replace(self, num_vectors=num_vectors, memories=memories, pictures=dict(self.pictures), _index=None)

    def refuse_other_encoder(self, encoder_id: str) -> None:
        """Raise ValueError unless the encoder with this id made this bank's vectors."""
        if encoder_id != self.encoder_id:
            raise ValueError(
                f"this bank holds vectors of encoder {self.encoder_id}, but encoder {encoder_id} was given; vectors of "
                "two encoders do not mix: encode the items again"
            )

    def of(self, item_ids: Sequence[str]) -> Tensor:
        """Return the memories of some items, concatenated in the order given: (K·M, D).

        Raises:
            KeyError: an item is not in the bank; the message names it.
        """
        self._refuse_missing(item_ids)
        if not item_ids:
            return torch.zeros(0, self.width, dtype=self.dtype)
        return torch.cat([self.memories[item_id] for item_id in item_ids])

    def _refuse_missing(self, item_ids: Sequence[str]) -> None:
        if missing := [item_id for item_id in item_ids if item_id not in self.memories]:
            raise KeyError(f"{len(missing)} of {len(item_ids)} items are not in this bank, first {missing[0]}")

    def search(self, queries_QE: np.ndarray, *, k: int, languages: Sequence[str] | None = None) -> list[Hits]:
        """Find the k items whose pictures are nearest to each query, best first (see `VectorIndex.search`).

        Raises:
            ValueError: the bank is not searchable or is empty, or as `VectorIndex.search`.
        """
        if self.grid is None:
            raise ValueError("this bank holds no pictures to search; name the items to show with item_ids=...")
        if self._index is None:
            if not self.pictures:
                raise ValueError("this bank is empty: there is nothing to search")
            self._index = VectorIndex(
                np.stack([picture.embedding_E for picture in self.pictures.values()]),
                item_ids=list(self.pictures),
                languages=[picture.language for picture in self.pictures.values()],
                embedder=f"{self.encoder_id} {self.grid}",
            )
        return self._index.search(queries_QE, k=k, languages=languages)

    def save(self, path: str | Path) -> None:
        """Write the bank as one safetensors file, atomically.

        Item ids are in the file's header, which the format limits to 100 MB: enough for two million items.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        item_ids = list(self.memories)
        empty_0MD = torch.zeros(0, self.num_vectors, self.width, dtype=self.dtype)
        tensors = {"memory": torch.stack([self.memories[each] for each in item_ids]) if item_ids else empty_0MD}
        header: dict[str, Any] = {"encoder_id": self.encoder_id, "item_ids": item_ids, "grid": self.grid}
        if self.grid is not None and item_ids:
            tensors["pictures"] = torch.from_numpy(np.stack([self.pictures[each].embedding_E for each in item_ids]))
            header["languages"] = [self.pictures[each].language for each in item_ids]
        hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            save_file(tensors, hidden, metadata={"bank": json.dumps(header)})
            os.replace(hidden, path)
        finally:
            hidden.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "Bank":
        """Read what `save` wrote.

        Raises:
            ValueError: the file does not exist, is cut off, or is not a bank; or a memory holds a number that is not
                finite.
        """
        path = Path(path)
        if path.is_dir():
            raise ValueError(
                f"{path} is a folder, expected a file that `Bank.save` wrote; comem.open(...) opens the bank of a "
                "run's store (`comem.open('.comem').bank`), or a folder that `Memory.save` wrote"
            )
        if not path.is_file():
            raise ValueError(f"there is no bank {path}")
        try:
            with safe_open(path, framework="pt") as stored:
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
                header = json.loads((stored.metadata() or {})["bank"])
            return cls._from_stored(tensors, header)
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is not a complete bank: {error}. Save the bank again") from error

    @classmethod
    def _from_stored(cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> "Bank":
        memory_NMD = tensors["memory"]
        _, num_vectors, width = memory_NMD.shape
        bank = cls(
            encoder_id=header["encoder_id"],
            num_vectors=num_vectors,
            width=width,
            dtype=memory_NMD.dtype,
            grid=None if header["grid"] is None else tuple(header["grid"]),
        )
        refuse_not_finite_memories(header["item_ids"], memory_NMD)
        bank.memories = dict(zip(header["item_ids"], memory_NMD, strict=True))
        if "pictures" in tensors:
            pictures = map(Picture, tensors["pictures"].numpy(), header["languages"])
            bank.pictures = dict(zip(header["item_ids"], pictures, strict=True))
        return bank


def refuse_not_finite_memories(item_ids: Sequence[str], memory_NMD: Tensor) -> None:
    """Raise ValueError that names the items whose memories hold a number that is not finite."""
    bad_N = ~memory_NMD.isfinite().flatten(start_dim=1).all(dim=1)
    if bad := [str(item_ids[row]) for row in bad_N.nonzero().flatten().tolist()]:
        named = ", ".join(bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        raise ValueError(
            f"the memories of {len(bad)} of {len(item_ids)} items hold numbers that are not finite ({named}); encode "
            "these items again"
        )


def to_bytes(memory_MD: Tensor) -> bytes:
    """Return one item's memory as little-endian float32 bytes, row by row."""
    return memory_MD.detach().float().cpu().numpy().astype("<f4").tobytes()


def from_bytes(raw: bytes, *, num_vectors: int) -> Tensor:
    """Read the bytes of `to_bytes` back: float32 (M, D)."""
    return torch.from_numpy(np.frombuffer(raw, dtype="<f4").reshape(num_vectors, -1).copy())
