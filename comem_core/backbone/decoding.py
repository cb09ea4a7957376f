"""How the next token is chosen: greedily, or drawn with noise of the row's own, so that its neighbours never matter.

Shapes: B rows, L tokens so far, V vocabulary.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Temperature 0 is greedy. `repetition_penalty` counts generated tokens only: a prompt of vectors has no tokens.

    A drawn answer is decided by `seed` and its own prompt, never by global random state or by the batch around it.

    Raises:
        ValueError: a value outside its range, or one that has no effect because decoding is greedy.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(
                f"decoding with temperature {self.temperature}, top_p {self.top_p}, repetition_penalty "
                f"{self.repetition_penalty}; expected at least 0, more than 0 and at most 1, more than 0"
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
        """A seed for each row, out of `seed` and the row's own tokens: other questions draw other noise."""
        rows = zip(ids_BL.cpu(), mask_BL.cpu(), strict=True)
        return [_hash(self.seed, *ids_L[mask_L].tolist()) for ids_L, mask_L in rows]


GREEDY = Decoding()


class RowNoise(LogitsProcessor):
    """Turns "take the largest" into a draw from the softmax: Gumbel noise is added, each row with its own generator.

    `multinomial` of transformers' own sampling draws for the whole batch at once, so that an answer would depend on its
    neighbours and on how questions are batched. Noise is made on the CPU: the same on every device.
    """

    def __init__(self, row_seeds: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(seed) for seed in row_seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        waits_BV = torch.stack(
            [torch.empty(scores.shape[-1]).exponential_(generator=generator) for generator in self.generators]
        )
        return scores - waits_BV.log().to(scores)


class FirstToken(LogitsProcessor):
    """Notes when the first token's logits are there (`time.perf_counter()`), and changes none of them."""

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
