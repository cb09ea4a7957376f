"""A text-only language model that reads a VLM encoder's memories (the paper's Table 5).

The memories go in front of the question as they do for a VLM. If the reader has another width, a trained linear
projection maps them to it. The reader sees no pictures: a question's picture is either left out, or encoded like an
item without text, with its memory after the items' memories and before the question.

This differs from the authors' code on purpose. There the picture enters as all hidden states of the whole query, after
different parts of the prompt in training and at inference, and the answer comes from the VLM's output head.

Shapes: B questions, K items, M vectors of an item, D width of the encoder, R width of the reader, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from comem_core.backbone.batches import Tokens
from comem_core.backbone.conversation import Conversation, without_pictures
from comem_core.backbone.text import TextModel
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.answering import AnsweringFor, LocalAnswering
from comem_core.memory.checkpoint import copy_weights, read_weights, write_weights
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.transfer_recipe import DESCRIPTION, WEIGHTS, TransferRecipe
from comem_core.stated_fields import read_fields, refuse_unknown, write_fields


@dataclass(frozen=True, kw_only=True)
class TransferDescription:
    """The description of a projection, saved beside its weights: from which encoder's memories, to which reader."""

    recipe: Mapping[str, Any]
    encoder_id: str
    reader: str
    reader_sha256: str
    reader_dtype: str
    parameters: int


class TextTransfer(AnsweringFor[MemoryEncoder], LocalAnswering):
    """Answers questions through a frozen text-only model, with the memories of an encoder in front."""

    def __init__(self, encoder: MemoryEncoder, reader: TextModel, recipe: TransferRecipe | None = None):
        """Combine an encoder and a reader.

        Raises:
            ValueError: their widths differ, but the recipe has no projection.
        """
        self.encoder, self._reader, self.recipe = encoder, reader, recipe or TransferRecipe()
        width, wanted = encoder.backbone.width, reader.width
        if width != wanted and not self.recipe.projection:
            raise ValueError(
                f"the encoder on {encoder.backbone.name!r} makes memories of width {width}, but {reader.name!r} reads "
                f"width {wanted}; train a projection between them: TransferRecipe(projection=True)"
            )
        self.projection = make_projection(encoder, reader, seed=self.recipe.seed) if self.recipe.projection else None

    def __repr__(self) -> str:
        carried = f"a projection of {self.num_parameters:,} parameters" if self.projection else "no projection"
        return f"TextTransfer from {self.encoder.backbone.name!r} to {self.reader.name!r}, {carried}"

    @property
    def num_parameters(self) -> int:
        return sum(weight.numel() for weight in self.parameters().values())

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the transfer's own parameters by name: the projection's, or none."""
        own = {} if self.projection is None else dict(self.projection.named_parameters())
        return {f"projection.{name}": weight for name, weight in own.items()}

    def project(self, memory: Tensor) -> Tensor:
        """Map vectors (..., D) to the reader's width (..., R). The projection computes in float32."""
        memory = memory.to(self.reader.device)
        return memory if self.projection is None else self.projection(memory.to(self.projection.weight.dtype))

    def seen(self, conversation: Conversation) -> Conversation:
        """Return the texts alone: this reader sees no pictures."""
        return without_pictures(conversation)

    def list_shown(self, items: Sequence[KnowledgeItem], image: bytes, language: str) -> tuple[KnowledgeItem, ...]:
        """List what is encoded for a question: its items, and then its picture as an item without text."""
        if not self.recipe.question_picture:
            return tuple(items)
        return (*items, KnowledgeItem(image=image, text="", language=language, source="question", licence=""))

    def put_in_front(self, questions: Sequence[Question], memories: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self.recipe.question_picture:
            return memories
        pictures = [item for each in questions for item in self.list_shown((), each.image, each.language)]
        picture_BMD = self.encoder.encode_batch(pictures)
        return [torch.cat([memory.to(own), own]) for memory, own in zip(memories, picture_BMD, strict=True)]

    @property
    def reader(self) -> TextModel:
        return self._reader

    def answering(self) -> AbstractContextManager[None]:
        return torch.inference_mode()

    def as_reader(self) -> AbstractContextManager[None]:
        return nullcontext()

    def prepare(self, conversations: Sequence[Conversation], *, generation: bool) -> Tokens:
        return self.reader.prepare(conversations, generation=generation)

    def save(self, folder: str | Path) -> TransferDescription:
        """Write the projection, if there is one, and which encoder and reader it belongs to.

        Encoder and reader are not written: a reader never changes, and a jointly trained encoder has its own `save`.
        """
        description = TransferDescription(
            recipe=asdict(self.recipe),
            encoder_id=self.encoder_id,
            reader=self.reader.name,
            reader_sha256=self.reader.hash_base_weights(),
            reader_dtype=str(self.reader.model.dtype).removeprefix("torch."),
            parameters=self.num_parameters,
        )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DESCRIPTION).unlink(missing_ok=True)
        write_weights(folder / WEIGHTS, self.parameters())
        write_fields(folder / DESCRIPTION, description)
        return description

    @classmethod
    def load(cls, folder: str | Path, encoder: MemoryEncoder, reader: TextModel) -> "TextTransfer":
        """Load a transfer between the encoder and the reader that it was trained for.

        Raises:
            ValueError: the folder holds no transfer, encoder or reader is another one, or names or shapes do not match.
        """
        folder = Path(folder)
        if missing := [name for name in (WEIGHTS, DESCRIPTION) if not (folder / name).is_file()]:
            raise ValueError(f"{folder} holds no transfer: {', '.join(missing)} is missing")
        description = TransferDescription(**read_fields(folder / DESCRIPTION, TransferDescription))
        refuse_unknown(description.recipe, TransferRecipe, where=f"the recipe in {folder}", optional=True)
        _refuse_others(description, encoder, reader)
        made = cls(encoder, reader, TransferRecipe(**description.recipe))
        copy_weights(read_weights(folder / WEIGHTS), made.parameters())
        return made


def make_projection(encoder: MemoryEncoder, reader: TextModel, *, seed: int) -> nn.Linear:
    """Make an untrained projection: it keeps angles between memories, and scales their norm to a token embedding's."""
    torch.manual_seed(seed)
    width, wanted = encoder.backbone.width, reader.width
    made = nn.Linear(width, wanted)
    with torch.no_grad():
        # The output of the Q-Former's last norm: unit variance, times its weight, plus its bias.
        last = encoder.qformer.norm_out
        memory_norm = float((last.weight.pow(2).sum() + last.bias.pow(2).sum()).sqrt())
        embeddings_VR: Any = reader.model.get_input_embeddings().weight
        token_norm = float(embeddings_VR.float().pow(2).sum(dim=1).mean().sqrt())
        if width == wanted:
            nn.init.eye_(made.weight)
        else:
            nn.init.orthogonal_(made.weight)
        made.weight *= token_norm / memory_norm * max(1.0, width / wanted) ** 0.5  # a narrower space loses some norm
        nn.init.zeros_(made.bias)
    return made.to(reader.device)


def _refuse_others(description: TransferDescription, encoder: MemoryEncoder, reader: TextModel) -> None:
    if encoder.encoder_id != description.encoder_id:
        raise ValueError(
            f"this transfer was made for memories of encoder {description.encoder_id}, but encoder "
            f"{encoder.encoder_id} was given"
        )
    dtype = str(reader.model.dtype).removeprefix("torch.")
    if dtype != description.reader_dtype:
        raise ValueError(
            f"this transfer was made for reader {description.reader!r} in {description.reader_dtype}, but "
            f"{reader.name!r} is loaded in {dtype}; load it in {description.reader_dtype}"
        )
    if (found := reader.hash_base_weights()) != description.reader_sha256:
        raise ValueError(
            f"this transfer was made for reader {description.reader!r} (weights {description.reader_sha256[:12]}), but "
            f"{reader.name!r} has weights {found[:12]}"
        )
