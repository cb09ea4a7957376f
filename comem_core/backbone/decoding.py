"""How the next token is chosen: greedily, or by sampling with noise of each row's own, independent of the batch.

Shapes: B rows, L tokens so far, V vocabulary.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to decode: greedily at temperature 0, else by sampling.

    `repetition_penalty` counts generated tokens only: a prompt of vectors has no tokens. A sampled answer depends on
    `seed` and its own prompt, never on global random state or on the rest of the batch.

    Raises:
        ValueError: a value is outside its range, or has no effect because decoding is greedy.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(
                f"decoding with temperature {self.temperature}, top_p {self.top_p}, repetition_penalty "
                f"{self.repetition_penalty}; expected temperature >= 0, 0 < top_p <= 1, repetition_penalty > 0"
            )
        if self.temperature == 0 and self.top_p < 1:
            raise ValueError(f"top_p {self.top_p} has no effect at temperature 0; give a temperature above 0")

    def processors(self, row_seeds: Sequence[int]) -> LogitsProcessorList:
        """Return the processors that transformers' `generate` applies to the logits; one seed per row."""
        if self.temperature == 0:
            return LogitsProcessorList()
        return LogitsProcessorList(
            [TemperatureLogitsWarper(self.temperature), TopPLogitsWarper(self.top_p), RowNoise(row_seeds)]
        )

    def row_seeds(self, ids_BL: Tensor, mask_BL: Tensor) -> list[int]:
        """Return a seed for each row, derived from `seed` and the row's tokens: each question gets its own noise."""
        rows = zip(ids_BL.cpu(), mask_BL.cpu(), strict=True)
        return [_hash(self.seed, *ids_L[mask_L].tolist()) for ids_L, mask_L in rows]


GREEDY = Decoding()


class RowNoise(LogitsProcessor):
    """Turns greedy decoding into sampling from the softmax: adds Gumbel noise, from a generator of each row's own.

    transformers' own sampling (`multinomial`) draws for the whole batch at once, so an answer would depend on the rest
    of its batch. The noise is drawn on the CPU, so it is the same on every device.
    """

    def __init__(self, row_seeds: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in row_seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        waits_BV = torch.stack(
            [torch.empty(scores.shape[-1]).exponential_(generator=generator) for generator in self.generators]
        )
        return scores - waits_BV.log().to(scores)


@contextmanager
def ignore_generation_config(model: Any) -> Iterator[None]:
    """Let a model generate without the settings of its folder's generation_config.json, such as num_beams.

    transformers fills in whatever a call leaves unset from there, even where the call brings a GenerationConfig.
    """
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


class FirstToken(LogitsProcessor):
    """Records when the first token's logits are ready (`time.perf_counter()`); leaves the logits unchanged."""

    def __init__(self) -> None:
        self.seen: float | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.seen is None:
            if scores.is_cuda:
                torch.cuda.synchronize()
            self.seen = time.perf_counter()
        return scores


def _hash(*numbers: int) -> int:
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
