"""What transformers' `generate` gets for a `Decoding`: processors of the logits, and noise of each row's own.

Shapes: B rows, L tokens so far, T generated tokens, V vocabulary.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from comem_core.backbone.decoding import Decoding


def make_processors(
    decoding: Decoding, row_seeds: Sequence[int], watching: Sequence[LogitsProcessor] = ()
) -> LogitsProcessorList:
    """Return the processors for transformers' `generate`, those that only watch last; there is one seed per row."""
    last = list(watching)
    if decoding.temperature == 0:
        return LogitsProcessorList(last)
    warpers = TemperatureLogitsWarper(decoding.temperature), TopPLogitsWarper(decoding.top_p)
    return LogitsProcessorList([*warpers, RowNoise(row_seeds), *last])


def compute_row_seeds(decoding: Decoding, ids_BL: Tensor, mask_BL: Tensor) -> list[int]:
    """Return a seed for each row, derived from the decoding's and the row's tokens: each question has its own noise."""
    rows = zip(ids_BL.cpu(), mask_BL.cpu(), strict=True)
    return [_hash(decoding.seed, *ids_L[mask_L].tolist()) for ids_L, mask_L in rows]


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


class StopAtText(StoppingCriteria):
    """Ends a row whose text has one of the texts at which a decoding stops.

    transformers' own criterion compares every word of the vocabulary with each text first: seconds and hundreds of
    megabytes for long ones, which whoever asks a service could name. The ids are those of generated tokens alone, as
    the prompt is embeddings.
    """

    def __init__(self, tokenizer: Any, decoding: Decoding):
        self.tokenizer, self.decoding = tokenizer, decoding

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        texts = self.tokenizer.batch_decode(input_ids, skip_special_tokens=True)
        ended = [self.decoding.cut(text) is not None for text in texts]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)


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


class TokenConfidence(LogitsProcessor):
    """Records how probable each greedily chosen token is; leaves the logits unchanged."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._steps.append(scores.max(dim=-1).values - scores.logsumexp(dim=-1))
        return scores

    def average(self, num_tokens: Sequence[int]) -> list[float]:
        """Return the mean log-probability (natural logarithm) of the first `num_tokens` tokens of each row.

        A row without a token has 0, which is certainty about nothing.
        """
        if not self._steps:
            return [0.0] * len(num_tokens)
        logprobs_BT = torch.stack(self._steps, dim=1).double().cpu()
        return [float(row_T[:num].mean()) if num else 0.0 for row_T, num in zip(logprobs_BT, num_tokens, strict=True)]


def _hash(*numbers: int) -> int:
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
