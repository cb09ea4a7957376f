"""What the Q-Former reads of many passages, computed once by the frozen backbone and stored.

A backbone without a trained LoRA reads a passage always alike, so its states are computed before the training, in
shards that a killed run does not make again. Afterwards a step needs no pass of the backbone over items.

Shapes: B passages, T tokens of the longest one, N tokens of a shard, D width.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from functools import partial as bind
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.encoding import CPU_TOKENS
from comem_core.memory.packing import pack_by_tokens
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.pretraining.passages import Passage, draw_passage_of

SHARD = 256
"""Passages of a shard."""


class StoredReadings:
    """Passages by number, and what the Q-Former reads of them, from a folder."""

    def __init__(self, folder: Path, recipe: NamingRecipe):
        self.folder, self.num_passages = folder, recipe.num_passages
        self.passage = lru_cache(maxsize=None)(bind(draw_passage_of, recipe))
        self._open = lru_cache(maxsize=None)(self._open_shard)

    def write_missing(
        self, encoder: MemoryEncoder, on_shard: Callable[[int, int, float], None] = lambda done, total, seconds: None
    ) -> None:
        """Compute the shards that are not there; `on_shard` gets the number of passages that are, and of all, and the
        seconds that the shard took (0 if it was there).

        Raises:
            ValueError: the backbone's tokenizer cuts a text into other tokens alone than in its conversation.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, self.num_passages, SHARD):
            end = min(start + SHARD, self.num_passages)
            path, began = self._name_shard(start // SHARD), time.monotonic()
            found = path.exists()
            if not found:
                read = read_passages(encoder, [self.passage(number) for number in range(start, end)])
                beside = path.with_suffix(".tmp")
                save_file(read, beside)
                os.replace(beside, path)
            on_shard(end, self.num_passages, 0.0 if found else time.monotonic() - began)

    def load(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor, list[int]]:
        """Return what is read of some passages, left-padded: inputs_BTD (float32), mask_BT, and the place of the first
        token of each text."""
        rows, firsts = [], []
        for number in numbers:
            (inputs_ND, starts, shard_firsts), place = self._open(number // SHARD), number % SHARD
            rows.append(inputs_ND[starts[place] : starts[place + 1]].float())
            firsts.append(shard_firsts[place])
        inputs_BTD = pad_sequence(rows, batch_first=True, padding_side="left")
        seen = [torch.ones(len(row), dtype=torch.bool) for row in rows]
        longest = inputs_BTD.shape[1]
        placed = [longest - len(row) + first for row, first in zip(rows, firsts, strict=True)]
        return inputs_BTD, pad_sequence(seen, batch_first=True, padding_side="left"), placed

    def _open_shard(self, shard: int) -> tuple[Any, list[int], list[int]]:
        """Return the inputs of a shard, which are read where they are asked for, where each passage begins (and the
        last one ends), and the first tokens of their texts."""
        opened = safe_open(self._name_shard(shard), "pt")
        starts = [0, *opened.get_tensor("ends_B").tolist()]
        return opened.get_slice("inputs_ND"), starts, opened.get_tensor("firsts_B").tolist()

    def _name_shard(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.safetensors"


def read_passages(encoder: MemoryEncoder, passages: Sequence[Passage]) -> dict[str, Tensor]:
    """Read passages with the frozen backbone: inputs_ND (in its number type) one passage after the other, where each
    ends, and which of its tokens is the first of its text.

    Raises:
        ValueError: see `StoredReadings.write_missing`.
    """
    tokens, backbone = encoder.prepare_items([passage.item for passage in passages]), encoder.backbone
    firsts = []
    for place, passage in enumerate(passages):
        first = int(tokens.answer_BL[place].int().argmax())
        own = split_text(backbone.tokenizer, passage.item.text)[0]
        if tokens.ids_BL[place, first : first + len(own)].tolist() != own:
            raise ValueError(f"this tokenizer cuts the text {passage.item.text!r} into other tokens in a conversation")
        firsts.append(first - int((~tokens.mask_BL[place]).sum()))
    inputs: list[Tensor] = [torch.empty(0)] * len(passages)
    with encoder.run_inference(), backbone.switch_adapter(False):
        for rows in pack_by_tokens(tokens.lengths, CPU_TOKENS):
            part = backbone.select(tokens, rows).to(backbone.device)
            for row, inputs_TD, mask_T in zip(rows, encoder.compute_inputs(part), part.mask_BL, strict=True):
                inputs[row] = inputs_TD[mask_T].cpu()
    ends_B = torch.tensor([len(each) for each in inputs]).cumsum(dim=0)
    return {"inputs_ND": torch.cat(inputs).contiguous(), "ends_B": ends_B, "firsts_B": torch.tensor(firsts)}


def split_text(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the token ids of a text, and the places (from, to) of its characters in each."""
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return found["input_ids"], found["offset_mapping"]
