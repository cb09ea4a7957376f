"""Merged export: the LoRA merged into a copy of the backbone's weights, for programs without PEFT.

An export is a folder: `backbone/` in the family's own format, the Q-Former in safetensors, and a description. It is
loaded again and compared with the adapter before the folder gets its name. The merged backbone only encodes items; the
reader is still the untouched backbone.

Shapes: N items, M vectors of an item, D width.
"""

import copy
import math
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.quantization import OFF
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.bank import Bank
from comem_core.memory.checkpoint import copy_weights, read_weights, write_weights
from comem_core.memory.description import Dtype
from comem_core.memory.encoder import ADAPTER, MemoryEncoder, make_qformer
from comem_core.memory.encoding import ItemEncoder
from comem_core.memory.qformer import QFormer
from comem_core.memory.recipe import EncoderRecipe, read_recipe, refuse_other_sizes
from comem_core.stated_fields import read_fields, write_fields

BACKBONE, QFORMER, DESCRIPTION = "backbone", "qformer.safetensors", "merged.json"
BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A question and the items to show with it, in rank order."""

    question: Question
    items: tuple[KnowledgeItem, ...]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a merged export may be from the adapter.

    `memory` is the distance of a memory vector over its norm; `answers` is the share of greedy answers that may differ.
    bfloat16 alone moves memories of the shipped encoder by 0.9 % (docs/log.md).
    """

    memory: float = 0.02
    answers: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MergeDifference:
    """How far a merged encoder is from the adapter: the worst memory vector, and the number of different answers."""

    memory: float
    changed_answers: int
    num_items: int
    num_answers: int

    def refuse_beyond(self, tolerance: Tolerance) -> None:
        """Raise ValueError, with the differences, if they are larger than allowed."""
        # A difference that is not finite exceeds any tolerance.
        if self.memory <= tolerance.memory and self.changed_answers <= tolerance.answers * self.num_answers:
            return
        raise ValueError(
            f"merged weights do not answer like the adapter: memory vectors of {self.num_items} items differ by up to "
            f"{self.memory:.2%} of their norm (at most {tolerance.memory:.2%} is allowed), and {self.changed_answers} "
            f"of {self.num_answers} greedy answers differ (at most {tolerance.answers:.0%}). Merging in half precision "
            "rounds the weights: export with dtype=torch.float32, or set another tolerance. Nothing was exported"
        )


@dataclass(frozen=True, kw_only=True)
class MergedDescription:
    """The description of a merged export. `reader` is the untouched backbone, which reads the memories."""

    encoder_id: str
    recipe: Mapping[str, Any]
    reader: str
    reader_sha256: str
    reader_dtype: str
    merged_sha256: str
    merged_dtype: Dtype
    compared: Mapping[str, Any]
    tolerance: Mapping[str, float]


class MergedEncoder(ItemEncoder):
    """An encoder with the LoRA merged into its backbone's weights. Its memories are those of the original encoder."""

    def __init__(self, backbone: Backbone, qformer: QFormer, recipe: EncoderRecipe, description: MergedDescription):
        super().__init__(backbone, qformer.eval().requires_grad_(False), recipe)
        self.description = description

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> "MergedEncoder":
        """Load what `export_merged` wrote, in the number type in which it was compared.

        Raises:
            ValueError: the folder holds no merged encoder, or its weights have changed since the export.
        """
        folder = Path(folder)
        description = _read_description(folder)
        recipe = read_recipe(description.recipe, where=str(folder))
        backbone = load_backbone(str(folder / BACKBONE), dtype=getattr(torch, description.merged_dtype), device=device)
        if (found := backbone.hash_base_weights()) != description.merged_sha256:
            raise ValueError(
                f"{folder / BACKBONE} has weights {found[:12]}, but {description.merged_sha256[:12]} were exported; "
                "export the encoder again"
            )
        weights = read_weights(folder / QFORMER)
        refuse_other_sizes(recipe, {f"qformer.{name}": each.shape for name, each in weights.items()}, where=str(folder))
        qformer = make_qformer(backbone, recipe)
        copy_weights(weights, dict(qformer.named_parameters()))
        return cls(backbone, qformer, recipe, description)

    def __repr__(self) -> str:
        return f"MergedEncoder of encoder {self.encoder_id}, for memories that {self.description.reader!r} reads"

    @property
    def encoder_id(self) -> str:
        """The id of the encoder that was merged: the memories of both agree within the stated tolerance."""
        return self.description.encoder_id

    def reading(self) -> AbstractContextManager[None]:
        return self.backbone.switch_adapter(False)  # there is none

    def encode(
        self,
        items: Iterable[KnowledgeItem],
        *,
        into: Bank | None = None,
        batch_size: int = 16,
        grid: tuple[int, int] | None = None,
    ) -> Bank:
        """As `ItemEncoder.encode`, but into a bank that is not searchable: search needs the reader's vision tower."""
        return super().encode(items, into=into, batch_size=batch_size, grid=grid)

    def embed_pictures(self, images: Sequence[bytes], *, grid: tuple[int, int]) -> np.ndarray:
        raise ValueError(
            "a merged encoder cannot embed pictures for search: its vision tower holds the LoRA, but the reader's own "
            "tower embeds questions. Encode with grid=None, and name the items to show with item_ids=..."
        )


def export_merged(
    encoder: MemoryEncoder,
    folder: str | Path,
    probes: Sequence[Probe],
    *,
    tolerance: Tolerance | None = None,
    dtype: torch.dtype | None = None,
    max_new_tokens: int = 32,
) -> MergedDescription:
    """Write an encoder as a merged export if it answers like the adapter on `probes`; otherwise write nothing.

    `dtype` is the number type of the merged weights (default: the backbone's own).

    Raises:
        ValueError: there is no probe, the backbone is quantised, the folder exists already, or memories or answers
            differ beyond the tolerance.
    """
    folder, tolerance = Path(folder), tolerance or Tolerance()
    if not probes or not all(probe.items for probe in probes):
        raise ValueError("a merged export is compared with the adapter on probes: give questions, each with its items")
    if encoder.backbone.quantization != OFF:
        raise ValueError(
            f"the LoRA of this encoder was trained on a backbone in {encoder.backbone.quantization}, into whose "
            "weights it cannot be merged without rounding them anew; save the encoder instead, or train it on the full "
            "backbone"
        )
    if folder.exists():
        raise ValueError(f"{folder} exists already; choose another name, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        stated = _write(encoder, hidden, dtype or encoder.backbone.model.dtype)
        _describe(hidden, stated | {"compared": {}, "tolerance": asdict(tolerance)})
        merged = MergedEncoder.load(hidden, device=str(encoder.backbone.device))
        found = compare(encoder, merged, probes, max_new_tokens=max_new_tokens)
        found.refuse_beyond(tolerance)
        description = _describe(hidden, stated | {"compared": asdict(found), "tolerance": asdict(tolerance)})
        os.replace(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return description


def compare(
    encoder: MemoryEncoder, merged: ItemEncoder, probes: Sequence[Probe], *, max_new_tokens: int = 32
) -> MergeDifference:
    """Encode the probes' items with both encoders, and let the untouched reader answer from both memories.

    Where memories are not finite there is nothing to read, and every answer counts as changed.
    """
    items = list({item.item_id: item for probe in probes for item in probe.items}.values())
    questions = [probe.question for probe in probes]
    shown = [[item.item_id for item in probe.items] for probe in probes]
    batches = list(cut_into_batches(items, BATCH_SIZE))
    memories = [
        [memory_MD for batch in batches for memory_MD in each.encode_batch(batch)] for each in (encoder, merged)
    ]
    distance = max(_distance(one_MD, other_MD) for one_MD, other_MD in zip(*memories, strict=True))
    same = {"num_items": len(items), "num_answers": len(questions)}
    if math.isinf(distance):
        return MergeDifference(memory=distance, changed_answers=len(questions), **same)
    banks = [encoder.make_bank(), encoder.make_bank()]
    for bank, encoded in zip(banks, memories, strict=True):
        bank.put([item.item_id for item in items], torch.stack(encoded))
    answers = [
        [said.text for said in encoder.answer(questions, bank, item_ids=shown, max_new_tokens=max_new_tokens)]
        for bank in banks
    ]
    changed = sum(one != other for one, other in zip(*answers, strict=True))
    return MergeDifference(memory=distance, changed_answers=changed, **same)


def merge_model(encoder: MemoryEncoder, dtype: torch.dtype) -> Any:
    """Copy the backbone's model and add each linear layer's LoRA to its weight.

    The sum is computed in float32 and rounded once; PEFT's own `merge` rounds the LoRA's part first and then the sum.
    """
    model: Any = copy.deepcopy(encoder.backbone.model)
    with torch.no_grad():
        for name, module in list(model.named_modules()):
            if isinstance(module, LoraLayer):
                layer: Any = module.get_base_layer()
                delta: Tensor = module.get_delta_weight(ADAPTER)  # pyright: ignore[reportAttributeAccessIssue]
                layer.weight.data = (layer.weight.float() + delta.float()).to(dtype)
                model.set_submodule(name, layer)
    model.to(dtype)
    model._hf_peft_config_loaded = False  # so that it is saved as a model, not as an adapter
    del model.peft_config
    return model


def _write(encoder: MemoryEncoder, folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Write the weights and return their fields of the description."""
    merged = copy.copy(encoder.backbone)
    merged.model = merge_model(encoder, dtype)
    merged.save(folder / BACKBONE)
    write_weights(folder / QFORMER, dict(encoder.qformer.named_parameters()))
    reader_sha256, reader_dtype = encoder.made_for
    return {
        "encoder_id": encoder.encoder_id,
        "recipe": asdict(encoder.recipe),
        "reader": encoder.backbone.name,
        "reader_sha256": reader_sha256,
        "reader_dtype": reader_dtype,
        "merged_sha256": merged.hash_base_weights(),
        "merged_dtype": str(dtype).removeprefix("torch."),
    }


def _describe(folder: Path, stated: Mapping[str, Any]) -> MergedDescription:
    description = MergedDescription(**stated)
    write_fields(folder / DESCRIPTION, description)
    return description


def _read_description(folder: Path) -> MergedDescription:
    if missing := [name for name in (DESCRIPTION, QFORMER, BACKBONE) if not (folder / name).exists()]:
        raise ValueError(f"{folder} holds no merged encoder: {', '.join(missing)} is missing")
    return MergedDescription(**read_fields(folder / DESCRIPTION, MergedDescription))


def _distance(one_MD: Tensor, other_MD: Tensor) -> float:
    """Return the largest distance between two memories' vectors over the first's norm; infinite if not finite."""
    shares_M = (one_MD.float() - other_MD.float()).norm(dim=-1) / one_MD.float().norm(dim=-1)
    return float(shares_M.max()) if shares_M.isfinite().all() else float("inf")
