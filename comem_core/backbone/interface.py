"""The one interface to a VLM family: from conversations to embeddings, hidden states, logits and generated text.

Shapes: B conversations, L tokens of the longest one, N images, D model width, V vocabulary. Batches are left-padded.
A family is one file beside this one; nothing outside this folder knows a family's class names.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from comem_core.backbone.conversation import Conversation, Generated


@dataclass(frozen=True)
class Tokens:
    """A left-padded batch of conversations as the processor made it.

    ids_BL int64; mask_BL bool (False = padding); answer_BL bool: the tokens that an assistant writes, its end token and
    newline included (the supervised ones, paper section 3 and reference code); images: the family's picture tensors.
    """

    ids_BL: Tensor
    mask_BL: Tensor
    answer_BL: Tensor
    images: dict[str, Tensor]


@dataclass(frozen=True)
class Embedded:
    """What a language model reads: embeds_BLD, mask_BL bool, positions_3BL int64 (M-RoPE axes; equal axes for text)."""

    embeds_BLD: Tensor
    mask_BL: Tensor
    positions_3BL: Tensor


class Backbone(ABC):
    """A vision-language model and its processor. The model's own weights are trained by `pretrain-base` alone."""

    model: PreTrainedModel
    name: str

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of the language model's hidden states and token embeddings."""

    @abstractmethod
    def tokenize(
        self, conversations: Sequence[Conversation], *, generation: bool, max_image_pixels: int | None
    ) -> Tokens:
        """Run the real processor and chat template; `generation` opens an assistant turn at the end."""

    @abstractmethod
    def embed(self, tokens: Tokens) -> Embedded:
        """Look up token embeddings, put image features in place, and compute positions."""

    @abstractmethod
    def hidden(self, embedded: Embedded) -> Tensor:
        """Last hidden states after the final norm, hidden_BLD."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits (..., V) of hidden states (..., D)."""

    @abstractmethod
    def generate(self, embedded: Embedded, *, max_new_tokens: int) -> list[tuple[str, int, bool]]:
        """Greedy answers through transformers' `generate`: (text, number of tokens, truncated) for each row."""

    @abstractmethod
    def pooled_images(
        self, images: Sequence[bytes], *, max_image_pixels: int | None, grid: tuple[int, int] = (1, 1)
    ) -> Tensor:
        """The vision tower's own embedding of each picture, float32 (N, rows * columns * D).

        Visual tokens are averaged in the cells of a `grid` of rows and columns, and each cell is normalised; (1, 1) is
        the mean visual token, a finer grid also tells where in the picture things are.
        """

    @abstractmethod
    def lora_targets(self) -> list[str]:
        """Full names of the modules that get a LoRA: every linear layer but the output head (reference code)."""

    @property
    def device(self) -> torch.device:
        return self.model.device

    @contextmanager
    def adapter(self, enabled: bool) -> Iterator[None]:
        """Run with the LoRA on (the encoder) or off (the reader): one copy of the weights serves as both."""
        if not getattr(self.model, "_hf_peft_config_loaded", False):
            if enabled:
                raise ValueError("this backbone has no LoRA; add one with comem_core.memory.encoder.MemoryEncoder")
            yield
            return
        lora = [weight for name, weight in self.model.named_parameters() if "lora_" in name]
        trained = [weight.requires_grad for weight in lora]
        (self.model.enable_adapters if enabled else self.model.disable_adapters)()
        # PEFT switches gradients along with the LoRA, so those that have yet to flow back through it would be lost.
        for weight, was_trained in zip(lora, trained, strict=True):
            weight.requires_grad_(was_trained)
        yield

    def answer(
        self, conversations: Sequence[Conversation], *, max_new_tokens: int, max_image_pixels: int | None = None
    ) -> list[Generated]:
        """Answer plain conversations (conditions `none` and `text`) with the LoRA off."""
        with torch.inference_mode(), self.adapter(False):
            tokens = self.tokenize(conversations, generation=True, max_image_pixels=max_image_pixels)
            return self.generated(self.embed(tokens), tokens, max_new_tokens=max_new_tokens)

    def generated(self, embedded: Embedded, tokens: Tokens, *, max_new_tokens: int) -> list[Generated]:
        """Generate from `embedded` and count the prompt tokens of `tokens` (memory vectors are not prompt tokens)."""
        prompt_tokens = tokens.mask_BL.sum(dim=1).tolist()
        answers = self.generate(embedded, max_new_tokens=max_new_tokens)
        return [
            Generated(text=text, prompt_tokens=int(prompt), answer_tokens=length, truncated=truncated)
            for prompt, (text, length, truncated) in zip(prompt_tokens, answers, strict=True)
        ]

    def base_weights_sha256(self) -> str:
        """Hash every weight of the backbone itself (not of a LoRA beside it), by name, dtype, shape and bytes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            if "lora_" in name:
                continue
            plain = tensor.detach().cpu().contiguous()
            digest.update(f"{name.replace('.base_layer', '')} {plain.dtype} {tuple(plain.shape)}".encode())
            digest.update(plain.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
