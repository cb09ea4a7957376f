"""The memory encoder: a backbone with LoRA, plus the Q-Former; it turns an item into M vectors. And its frozen reader.

One copy of the backbone serves both: with the LoRA on it encodes items, with the LoRA off it is the untouched reader.
LoRA and Q-Former stay in float32 whatever the backbone's number type: at the paper's learning rate, most steps of
AdamW are smaller than the resolution of bfloat16.

Shapes: B items or questions, M vectors of an item, K items of a question, D width, V vocabulary.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig
from torch import Tensor, nn

from comem_core.backbone.batches import Tokens
from comem_core.backbone.conversation import Conversation
from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.quantization import OFF, count_numbers
from comem_core.backbone.reader import Reader
from comem_core.knowledge.items import Question
from comem_core.memory.answering import LocalAnswering
from comem_core.memory.checkpoint import copy_weights, hash_weights, read_weights, write_checkpoint
from comem_core.memory.description import WEIGHTS, Description, Dtype, find_encoder_folder, read_description
from comem_core.memory.encoding import ItemEncoder
from comem_core.memory.parameters import describe_parameter_share
from comem_core.memory.qformer import QFormer, QFormerRecipe
from comem_core.memory.recipe import EncoderRecipe, read_recipe, refuse_other_sizes
from comem_core.neutral import is_off

ADAPTER = "memory"
# Fields that have always been part of an encoder's name. A later field is part of it only where it is not off.
ALWAYS_NAMED = frozenset(
    ("version", "lora_rank", "lora_alpha", "lora_dropout", "num_vectors", "num_rounds", "num_heads", "prompts",
     "item_visual_tokens", "query_visual_tokens", "match_embedding_norm", "copying_start", "reads_embeddings", "seed")
)  # fmt: skip


class MemoryEncoder(ItemEncoder, LocalAnswering):
    """Encodes knowledge items into memory, and answers questions with it through the frozen reader."""

    def __init__(self, backbone: Backbone, recipe: EncoderRecipe):
        torch.manual_seed(recipe.seed)
        super().__init__(backbone, make_qformer(backbone, recipe), recipe)
        backbone.model.add_adapter(
            LoraConfig(
                r=recipe.lora_rank,
                lora_alpha=recipe.lora_alpha,
                lora_dropout=recipe.lora_dropout,
                target_modules=backbone.list_lora_targets(),
                bias="none",
            ),
            ADAPTER,
        )
        for parameter in self.parameters().values():
            parameter.data = parameter.data.float()
        self._encoder_id: str | None = None
        self._made_for: tuple[str, str] | None = None
        self.set_trainable(False)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        backbone: str | None = None,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
    ) -> "MemoryEncoder":
        """Load an encoder and its backbone, from a folder or by the name of a shipped encoder (`tiny-encoder`).

        `backbone` is a shipped name, a folder or a hub name; without it, the description's is used. Its weights are
        compared with those that the encoder was trained for, and then cast to `dtype`, if one is given. A backbone that
        was quantised in training is quantised here.

        Raises:
            ValueError: the folder holds no encoder, it is damaged, or the encoder was trained for another backbone; or
                another `dtype` is given for a quantised one, or the library for it is missing.
        """
        folder = find_encoder_folder(folder)
        description = read_description(folder)
        trained_in = getattr(torch, description.backbone_dtype)
        quantization = description.backbone_quantization
        if quantization != OFF and dtype not in (None, trained_in):
            raise ValueError(
                f"the encoder in {folder} was trained for a backbone in {quantization}, whose number type cannot be "
                f"changed to {str(dtype).removeprefix('torch.')}; leave dtype out"
            )
        name = backbone or description.backbone
        loaded = load_backbone(name, dtype=trained_in, device=device, quantization=quantization)
        encoder = cls.load(folder, loaded)
        if dtype not in (None, trained_in):
            for name, weight in loaded.model.named_parameters():
                if "lora_" not in name:
                    weight.data = weight.data.to(dtype)
        return encoder

    @classmethod
    def load(cls, folder: str | Path, backbone: Backbone) -> "MemoryEncoder":
        """Load an encoder onto the backbone that it was trained for.

        Raises:
            ValueError: the folder holds no encoder, the backbone has other weights, or names or shapes do not match.
        """
        folder = Path(folder)
        description = read_description(folder)
        recipe = read_recipe(description.recipe, where=str(folder))
        description.refuse_other_backbone(backbone)
        weights = read_weights(folder / WEIGHTS)
        refuse_other_sizes(recipe, {name: each.shape for name, each in weights.items()}, where=str(folder))
        encoder = cls(backbone, recipe)
        copy_weights(weights, encoder.parameters())
        encoder._made_for = (description.backbone_sha256, description.backbone_dtype)
        return encoder

    def start_from(self, folder: Path) -> None:
        """Copy the weights of a saved encoder, which must have the same shape and the same backbone.

        Raises:
            ValueError: as `load`.
        """
        read_description(folder).refuse_other_backbone(self.backbone)
        copy_weights(read_weights(folder / WEIGHTS), self.parameters())
        self._encoder_id = None

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Description:
        """Write the encoder (LoRA, Q-Former, recipe, and which backbone it belongs to) and return its description.

        With another `dtype` the file is smaller, and the encoder read from it has weights that were rounded to it.
        """
        sha256, trained_in = self.made_for
        report = self.count_parameters()
        described = Description(
            recipe=asdict(self.recipe),
            backbone=self.backbone.name,
            backbone_sha256=sha256,
            backbone_dtype=cast(Dtype, trained_in),
            backbone_quantization=self.backbone.quantization,
            parameters=dict(report),
            parameter_share=describe_parameter_share(report),
        )
        weights = {name: weight.detach().to(dtype) for name, weight in self.parameters().items()}
        return write_checkpoint(Path(folder), weights, described)

    def __repr__(self) -> str:
        m, d = self.recipe.num_vectors, self.backbone.width
        return (
            f"MemoryEncoder on {self.backbone.name!r}: {m} vectors of width {d} an item; "
            f"{describe_parameter_share(self.count_parameters())}"
        )

    @property
    def made_for(self) -> tuple[str, str]:
        """The hash and number type of the backbone's weights when the encoder was made or loaded."""
        if self._made_for is None:
            self._made_for = self.backbone.identify_weights(), str(self.backbone.model.dtype).removeprefix("torch.")
        return self._made_for

    @property
    def encoder_id(self) -> str:
        """A hash of recipe, backbone and own weights. It is cached, except while training is switched on."""
        if self._encoder_id is None or self.qformer.training:
            recipe = json.dumps(_collect_naming_fields(self.recipe), sort_keys=True)
            quantization = self.backbone.quantization
            further = [] if quantization == OFF else [quantization]
            self._encoder_id = hash_weights(self.parameters(), recipe, self.made_for[0], *further)
        return self._encoder_id

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the encoder's own parameters by name: LoRA and Q-Former, never the backbone's."""
        lora = {name: weight for name, weight in self.backbone.model.named_parameters() if "lora_" in name}
        return lora | {f"qformer.{name}": weight for name, weight in self.qformer.named_parameters()}

    def set_trainable(self, trainable: bool) -> None:
        """Switch gradients (and LoRA dropout) of the encoder's own parameters; the backbone's gradients stay off."""
        self._encoder_id = None
        self.backbone.model.requires_grad_(False).train(trainable)
        self.qformer.train(trainable)
        for parameter in self.parameters().values():
            parameter.requires_grad_(trainable)

    def count_parameters(self) -> Mapping[str, int]:
        """Count the parameters of LoRA, Q-Former and backbone (see `parameters.describe_parameter_share`)."""
        own = self.parameters()
        held = self.backbone.model.named_parameters()
        backbone = sum(count_numbers(weight) for name, weight in held if "lora_" not in name)
        return {
            "lora": sum(weight.numel() for name, weight in own.items() if not name.startswith("qformer.")),
            "qformer": sum(weight.numel() for name, weight in own.items() if name.startswith("qformer.")),
            "backbone": backbone,
        }

    def reading(self) -> AbstractContextManager[None]:
        return self.backbone.switch_adapter(True)

    def conversation(self, question: Question, *, answer: str | None = None) -> Conversation:
        return self.prompts.make_conversation(question.question, question.image, question.language, answer=answer)

    @property
    def stop(self) -> tuple[str, ...]:
        return self.prompts.stop

    @property
    def reader(self) -> Reader:
        return self.backbone

    @contextmanager
    def answering(self) -> Iterator[None]:
        with self.run_inference(), self.as_reader():
            yield

    def as_reader(self) -> AbstractContextManager[None]:
        return self.backbone.switch_adapter(False)

    def prepare(self, conversations: Sequence[Conversation], *, generation: bool) -> Tokens:
        size = self.recipe.query_visual_tokens
        return self.backbone.prepare(conversations, generation=generation, visual_tokens=size)


def _collect_naming_fields(recipe: EncoderRecipe) -> dict[str, Any]:
    """Return the fields that name an encoder. A new option that is off is not among them, so old names stay."""
    values = asdict(recipe)
    return {
        each.name: values[each.name]
        for each in fields(recipe)
        if each.name in ALWAYS_NAMED or not is_off(each, getattr(recipe, each.name))
    }


def make_qformer(backbone: Backbone, recipe: EncoderRecipe) -> QFormer:
    """Make an untrained Q-Former of the backbone's width."""
    shape = QFormerRecipe(
        width=backbone.width,
        num_heads=recipe.num_heads,
        num_vectors=recipe.num_vectors,
        num_rounds=recipe.num_rounds,
        initializer_range=backbone.model.config.get_text_config().initializer_range,
        copying_start=recipe.copying_start,
        reads_counts=recipe.reads_counts,
    )
    qformer = QFormer(shape).to(backbone.device)
    if recipe.match_embedding_norm:
        embeddings_VD: Tensor = backbone.model.get_input_embeddings().weight  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
        nn.init.constant_(qformer.norm_out.weight, float(embeddings_VD.float().pow(2).mean().sqrt()))
    return qformer
