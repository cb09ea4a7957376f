"""The one interface to a model family: a reader that sees pictures and can carry the encoder's LoRA.

A family is one file beside this one; nothing outside this folder knows a family's class names.

Shapes: B conversations, L tokens of the longest one, N pictures, D model width, V vocabulary. Batches are left-padded.
P visual tokens in a batch, in reading order; J early layers that take picture features.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from comem_core.backbone.batches import Tokens
from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import VisualTokens
from comem_core.backbone.reader import Reader


@dataclass(frozen=True, kw_only=True)
class Family:
    """A model family, as its file declares it (`FAMILY`): its name in recipes, the `model_type`s of config.json that
    it reads, and its class."""

    name: str
    model_types: tuple[str, ...]
    backbone: "type[Backbone]"


class Backbone(Reader):
    """A vision-language model and its processor. Only `pretrain-base` trains the model's own weights."""

    processor: Any
    # Why vLLM cannot answer from memory and a picture in one request; None where it was seen to.
    vllm_fault: ClassVar[str | None] = None

    def save(self, folder: Path) -> None:
        """Write model and processor into one folder, in the family's own format."""
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)

    def tokenize(
        self, conversations: Sequence[Conversation], *, generation: bool, visual_tokens: VisualTokens | None = None
    ) -> Tokens:
        """Run the real processor and chat template; `generation` opens an assistant turn at the end.

        Each picture becomes as many tokens as `visual_tokens` allows; without it, the processor's own bounds apply.
        """
        return self.prepare(conversations, generation=generation, visual_tokens=visual_tokens).to(self.device)

    @abstractmethod
    def prepare(
        self, conversations: Sequence[Conversation], *, generation: bool, visual_tokens: VisualTokens | None = None
    ) -> Tokens: ...

    @abstractmethod
    def select(self, tokens: Tokens, rows: Sequence[int]) -> Tokens:
        """Return some conversations of a batch with their pictures, padded to the longest of them."""
        return super().select(tokens, rows)

    def fit_pictures(self, images: Sequence[bytes], *, visual_tokens: VisualTokens | None = None) -> list[Image.Image]:
        """Decode pictures and resize them as `tokenize` does, so that another program can show them to the same model.

        Raises ValueError where the family cannot say how its pictures are shown.
        """
        raise ValueError(
            f"pictures for {self.name!r} cannot be sent to another program: its family has no sizes for them"
        )

    @abstractmethod
    def compute_visual_grids(
        self, images: Sequence[bytes], *, visual_tokens: VisualTokens | None = None
    ) -> list[Tensor]:
        """Return each picture's visual tokens from the vision tower as a grid: (rows, columns, D) per picture."""

    def pool_images(
        self,
        images: Sequence[bytes],
        *,
        visual_tokens: VisualTokens | None = None,
        grid: tuple[int, int] = (1, 1),
    ) -> Tensor:
        """Return the vision tower's embedding of each picture, float32 (N, rows * columns * D).

        Visual tokens are averaged in the cells of a `grid` of rows and columns, and each cell is normalised. (1, 1) is
        the mean visual token; a finer grid also keeps where things are in the picture.
        """
        with torch.inference_mode(), self.switch_adapter(False):
            found = self.compute_visual_grids(images, visual_tokens=visual_tokens)
            return pool_cells(found, grid)

    def list_lora_targets(self) -> list[str]:
        """List the full names of the modules that get a LoRA: all linear layers but the head (reference code).

        Experts of a mixture whose weights are in one tensor are not `nn.Linear`, so they get none.
        """
        return [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and not name.endswith("lm_head")
        ]

    @contextmanager
    def switch_adapter(self, enabled: bool) -> Iterator[None]:
        """Run with the LoRA on (the encoder) or off (the reader), so that both share one copy of the weights."""
        if getattr(self.model, "_hf_peft_config_loaded", False):
            self._switch_adapters(enabled)
        elif enabled:
            raise ValueError("this backbone has no LoRA; add one with comem_core.memory.encoder.MemoryEncoder")
        yield

    def _switch_adapters(self, enabled: bool) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer  # takes a second, which a backbone without LoRA need not

        adapted = next(module for module in self.model.modules() if isinstance(module, BaseTunerLayer))
        if adapted.disable_adapters is not enabled:
            return  # switching visits every module of the model, which takes a third of the time of a short answer
        lora = [weight for name, weight in self.model.named_parameters() if "lora_" in name]
        trained = [weight.requires_grad for weight in lora]
        (self.model.enable_adapters if enabled else self.model.disable_adapters)()
        # PEFT also switches `requires_grad` of the LoRA, so a backward pass that is still to come would lose gradients.
        for weight, was_trained in zip(lora, trained, strict=True):
            weight.requires_grad_(was_trained)

    def answer(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        visual_tokens: VisualTokens | None = None,
    ) -> list[Generated]:
        """Answer conversations without memory (conditions `none` and `text`), with the LoRA off."""
        with torch.inference_mode(), self.switch_adapter(False):
            tokens = self.tokenize(conversations, generation=True, visual_tokens=visual_tokens)
            return self.generated(self.embed(tokens), tokens, max_new_tokens=max_new_tokens, decoding=decoding)


def pool_cells(grids: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Average each picture's visual tokens (rows, columns, D) in the cells of `grid`, then normalise each: float32."""
    cells = [adaptive_avg_pool2d(each.float().permute(2, 0, 1), grid) for each in grids]
    return normalize(torch.stack(cells), dim=1).flatten(start_dim=1)
