"""The memory encoder: a backbone with LoRA, plus the Q-Former. Item in, M vectors out; and the frozen reader beside it.

One copy of the backbone serves both: with the LoRA on it encodes items, with the LoRA off it is the untouched reader.

Shapes: B items or questions, T tokens of the longest item, M vectors of an item, K items of a question, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from peft import LoraConfig
from torch import Tensor, nn

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.interface import Backbone
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.injection import inject
from comem_core.memory.qformer import QFormer, QFormerRecipe
from comem_core.synthesis.prompts import prompt_set

ADAPTER = "memory"


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """The encoder's shape and what it reads. Defaults are the paper's (section 3, reference code), for d = 3584."""

    version: str = "2026.11.1"
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    num_vectors: int = 8
    num_rounds: int = 8
    num_heads: int = 16
    prompts: str = "short"
    max_image_pixels: int | None = None
    # Start the memory at the norm of token embeddings instead of sqrt(D), which is far above it.
    match_embedding_norm: bool = False
    # Start the Q-Former near the identity (see `QFormerRecipe.copying_start`).
    copying_start: bool = False
    seed: int = 0


class MemoryEncoder:
    """Encodes knowledge items into memory, and answers questions with it through the frozen reader."""

    def __init__(self, backbone: Backbone, recipe: EncoderRecipe):
        self.backbone, self.recipe, self.prompts = backbone, recipe, prompt_set(recipe.prompts)
        torch.manual_seed(recipe.seed)
        shape = QFormerRecipe(
            width=backbone.width,
            num_heads=recipe.num_heads,
            num_vectors=recipe.num_vectors,
            num_rounds=recipe.num_rounds,
            initializer_range=backbone.model.config.get_text_config().initializer_range,
            copying_start=recipe.copying_start,
        )
        self.qformer = QFormer(shape).to(backbone.device, backbone.model.dtype)
        if recipe.match_embedding_norm:
            embeddings_VD: Tensor = backbone.model.get_input_embeddings().weight  # pyright: ignore[reportAssignmentType]
            nn.init.constant_(self.qformer.norm_out.weight, float(embeddings_VD.float().pow(2).mean().sqrt()))
        targets = backbone.lora_targets()
        backbone.model.add_adapter(
            LoraConfig(
                r=recipe.lora_rank,
                lora_alpha=recipe.lora_alpha,
                lora_dropout=recipe.lora_dropout,
                target_modules=targets,
                bias="none",
            ),
            ADAPTER,
        )
        self.set_trainable(False)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The encoder's own parameters by name: LoRA and Q-Former, never the backbone's."""
        lora = {name: weight for name, weight in self.backbone.model.named_parameters() if "lora_" in name}
        return lora | {f"qformer.{name}": weight for name, weight in self.qformer.named_parameters()}

    def set_trainable(self, trainable: bool) -> None:
        """Switch gradients (and LoRA dropout) of the encoder's own parameters; the backbone's stay off."""
        self.backbone.model.requires_grad_(False).train(trainable)
        self.qformer.train(trainable)
        for parameter in self.parameters().values():
            parameter.requires_grad_(trainable)

    def parameter_report(self) -> Mapping[str, int]:
        """Counts that a parameter share can be stated from, its denominator named."""
        own = self.parameters()
        backbone = sum(weight.numel() for name, weight in self.backbone.model.named_parameters() if "lora_" not in name)
        return {
            "lora": sum(weight.numel() for name, weight in own.items() if not name.startswith("qformer.")),
            "qformer": sum(weight.numel() for name, weight in own.items() if name.startswith("qformer.")),
            "backbone": backbone,
        }

    def memory(self, items: Sequence[KnowledgeItem]) -> Tensor:
        """Encode items, each alone, with gradients where they are switched on: memory_BMD."""
        conversations = [self.prompts.item_conversation(item) for item in items]
        tokens = self.backbone.tokenize(conversations, generation=False, max_image_pixels=self.recipe.max_image_pixels)
        with self.backbone.adapter(True):
            hidden_BTD = self.backbone.hidden(self.backbone.embed(tokens))
        return self.qformer(hidden_BTD, tokens.mask_BL)

    def empty_memory(self) -> Tensor:
        """What the Q-Former says of no item at all: learned-nothing vectors (M, D), for the control `empty`."""
        nothing = torch.zeros(1, 0, self.backbone.width, device=self.backbone.device, dtype=self.backbone.model.dtype)
        with torch.inference_mode():
            return self.qformer(nothing, torch.zeros(1, 0, dtype=torch.bool, device=nothing.device))[0]

    def encode(self, items: Sequence[KnowledgeItem]) -> Tensor:
        """Encode one batch of items without gradients: memory_BMD, in the backbone's dtype."""
        with torch.inference_mode():
            return self.memory(items)

    def answer(
        self,
        conversations: Sequence[Conversation],
        memories: Sequence[Tensor],
        *,
        max_new_tokens: int,
        max_image_pixels: int | None = None,
    ) -> list[Generated]:
        """Answer through the frozen reader with each question's memory (K·M, D) in front of it, greedily."""
        with torch.inference_mode(), self.backbone.adapter(False):
            tokens = self.backbone.tokenize(conversations, generation=True, max_image_pixels=max_image_pixels)
            embedded = inject(self.backbone.embed(tokens), memories)
            return self.backbone.generated(embedded, tokens, max_new_tokens=max_new_tokens)
