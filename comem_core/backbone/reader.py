"""A language model that answers: from conversations to embeddings, hidden states, logits and generated text.

Shapes: B conversations, L tokens of the longest one, D model width, V vocabulary. Batches are left-padded.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoConfig, LogitsProcessor, PreTrainedModel, StoppingCriteriaList

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.markup import Markup
from comem_core.backbone.quantization import OFF, Quantization
from comem_core.backbone.sampling import (
    FirstToken,
    StopAtText,
    TokenConfidence,
    compute_row_seeds,
    ignore_generation_config,
    make_processors,
)


def load_model(kind: Any, name_or_path: str | Path, *, dtype: torch.dtype, device: str) -> Any:
    """Load a model by one of transformers' `AutoModel` classes; on the device `meta`, its shapes without a weight."""
    if device != "meta":
        return kind.from_pretrained(name_or_path, dtype=dtype, trust_remote_code=False).to(device)
    with torch.device(device):
        return kind.from_config(AutoConfig.from_pretrained(name_or_path, trust_remote_code=False), dtype=dtype)


class Reader(ABC):
    """A language model and its tokenizer; `model.model` is its body and `model.lm_head` its head.

    `quantization` says whether its layers have fewer bits; `source_sha256` is then the hash of the weights before that.
    """

    quantization: Quantization = OFF
    source_sha256: str | None = None

    def __init__(self, model: PreTrainedModel, tokenizer: Any, markup: Markup, name: str):
        self.model, self.name = model.eval().requires_grad_(False), name
        self.tokenizer, self.markup = tokenizer, markup
        self.tokenizer.padding_side = "left"

    @classmethod
    @abstractmethod
    def load(cls, name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Self:
        """Load the model and its processor from a local folder, or by name from the hub's cache."""

    @property
    def width(self) -> int:
        """D, the width of the language model's hidden states and token embeddings."""
        return self.model.config.get_text_config().hidden_size

    @property
    def device(self) -> torch.device:
        return self.model.device

    def checkpoint_gradients(self) -> None:
        """Keep only the inputs of layers for the backward pass, and compute the rest of a layer again there.

        transformers does so in training mode alone, in which a reader without dropout computes the same.
        """
        self.model.activation_checkpointing_enable({"use_reentrant": False})
        self.model.train()

    def save(self, folder: Path) -> None:
        """Write model and tokenizer into one folder, in the family's own format."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def tokenize(self, conversations: Sequence[Conversation], *, generation: bool) -> Tokens:
        """Run the real tokenizer and chat template; `generation` opens an assistant turn at the end."""
        return self.prepare(conversations, generation=generation).to(self.device)

    @abstractmethod
    def prepare(self, conversations: Sequence[Conversation], *, generation: bool) -> Tokens:
        """Do what `tokenize` does without the model, on the CPU, so that another process can do it ahead."""

    def select(self, tokens: Tokens, rows: Sequence[int]) -> Tokens:
        """Return some conversations of a batch, padded to the longest of them."""
        length = max(tokens.mask_BL[rows].sum(dim=1).tolist())
        ids_BL, mask_BL, answer_BL = (
            each[rows, each.shape[1] - length :] for each in (tokens.ids_BL, tokens.mask_BL, tokens.answer_BL)
        )
        return Tokens(ids_BL, mask_BL, answer_BL, {})

    def make_tokens(self, batch: Any, conversations: Sequence[Conversation], pictures: Sequence[str] = ()) -> Tokens:
        """Return a processor's output with the assistant's tokens marked; `pictures` names its picture tensors.

        Raises ValueError if the chat template writes turns differently from the family's own."""
        answer_BL = self.markup.answer_mask(batch["input_ids"])
        self.markup.check(conversations, answer_BL)
        images = {name: batch[name] for name in pictures if name in batch}
        return Tokens(batch["input_ids"], batch["attention_mask"].bool(), answer_BL, images)

    def embed(self, tokens: Tokens) -> Embedded:
        """Look up token embeddings and count positions; families that see pictures insert the picture features."""
        embeds_BLD = self.model.get_input_embeddings()(tokens.ids_BL)
        positions_BL = (tokens.mask_BL.long().cumsum(dim=1) - 1).clamp(min=0)
        return Embedded(embeds_BLD, tokens.mask_BL, positions_BL.expand(3, -1, -1))

    def inputs(self, embedded: Embedded) -> dict[str, Any]:
        """Return the arguments that the model's own class takes, in a forward pass and in `generate`."""
        return {
            "inputs_embeds": embedded.embeds_BLD,
            "attention_mask": embedded.mask_BL.long(),
            "position_ids": embedded.positions_3BL[0],
        }

    def hidden(self, embedded: Embedded) -> Tensor:
        """Return the last hidden states, after the final norm: hidden_BLD."""
        body: Any = self.model.model
        return body(**self.inputs(embedded), use_cache=False).last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the next-token logits (..., V) of hidden states (..., D)."""
        head: Any = self.model.lm_head
        return head(hidden)

    def generate(
        self,
        embedded: Embedded,
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        row_seeds: Sequence[int] | None = None,
        watching: Sequence[LogitsProcessor] = (),
        max_seconds: float | None = None,
    ) -> list[tuple[str, int, bool]]:
        """Run transformers' `generate` and return (text, number of tokens, truncated) for each row.
        `row_seeds` seed the sampling of each row; without them all rows use the decoding's own seed. After
        `max_seconds` no further token is begun; `watching` sees the logits of every token.
        """
        row_seeds = row_seeds or [decoding.seed] * len(embedded.mask_BL)
        # transformers continues given position ids by +1 a step on every axis: the query's shift holds in decoding.
        with ignore_generation_config(self.model):
            ids_BT = self.model.generate(  # pyright: ignore[reportCallIssue]
                **self.inputs(embedded),
                max_new_tokens=max_new_tokens,
                do_sample=False,  # the processors sample, row by row
                logits_processor=make_processors(decoding, row_seeds, watching),
                max_time=max_seconds,
                repetition_penalty=decoding.repetition_penalty,
                eos_token_id=self.markup.end,
                pad_token_id=self.tokenizer.pad_token_id,
                stopping_criteria=StoppingCriteriaList([StopAtText(self.tokenizer, decoding)] if decoding.stop else []),
            )
        return [self._read_answer(ids, decoding) for ids in ids_BT.tolist()]

    def _read_answer(self, ids: list[int], decoding: Decoding) -> tuple[str, int, bool]:
        """Return the text of generated tokens, how many they are without what ends them, and whether nothing does."""
        truncated = self.markup.end not in ids
        ids = ids if truncated else ids[: ids.index(self.markup.end)]

        def decode(num: int) -> str:
            return self.tokenizer.decode(ids[:num], skip_special_tokens=True)

        if (before := decoding.cut(decode(len(ids)))) is None:
            return decode(len(ids)).strip(), len(ids), truncated
        # The token that completes a text of `stop` ends the answer; in a batch, padding comes after it.
        ending = next(num for num in range(1, len(ids) + 1) if decoding.cut(decode(num)) is not None)
        return before.strip(), ending - 1, False

    def generated(
        self,
        embedded: Embedded,
        tokens: Tokens,
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        started: float | None = None,
        max_seconds: float | None = None,
    ) -> list[Generated]:
        """Generate from `embedded` and count the prompt tokens in `tokens` (memory vectors are not prompt tokens).

        Prefill is timed from `started` (`time.perf_counter()`), or from now.
        """
        started, first_token = started or time.perf_counter(), FirstToken()
        confidence = TokenConfidence() if decoding.temperature == 0 else None
        answers = self.generate(
            embedded,
            max_new_tokens=max_new_tokens,
            decoding=decoding,
            row_seeds=compute_row_seeds(decoding, tokens.ids_BL, tokens.mask_BL),
            watching=[first_token, *([confidence] if confidence else [])],
            max_seconds=max_seconds,
        )
        seen, ended = first_token.seen or started, time.perf_counter()
        lengths = [length + (not truncated) for _, length, truncated in answers]  # with the token that ends it
        logprobs = confidence.average(lengths) if confidence else [None] * len(answers)
        return [
            Generated(
                text=text,
                prompt_tokens=int(prompt),
                answer_tokens=length,
                truncated=truncated,
                timed_out=truncated and length < max_new_tokens,
                prefill_seconds=(seen - started) / len(answers),
                decode_seconds=(ended - seen) / len(answers),
                logprob=logprob,
            )
            for prompt, (text, length, truncated), logprob in zip(
                tokens.mask_BL.sum(dim=1).tolist(), answers, logprobs, strict=True
            )
        ]

    def identify_weights(self) -> str:
        """Return the hash of the weights that were loaded: of a quantised model, of those that it was made from.

        It is the same wherever they are quantised, which rounds in another way on another device.
        """
        return self.source_sha256 or self.hash_base_weights()

    def hash_base_weights(self) -> str:
        """Hash every weight of the model itself, without a LoRA, by name, dtype, shape and bytes.

        Of weights that are shared out among training workers, this worker's part is hashed.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if "lora_" in name:
                continue
            own = tensor.to_local() if hasattr(tensor, "to_local") else tensor  # a DTensor, whose module takes long
            plain = own.detach().cpu().contiguous()
            digest.update(f"{name.replace('.base_layer', '')} {plain.dtype} {tuple(plain.shape)}".encode())
            digest.update(plain.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
