"""The memory objective: answer a question from the memories of its items, through the frozen reader (paper section 3).

The gradient flows through the reader, whose weights are frozen, into the memory, the Q-Former and the LoRA.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from comem_core.backbone.batches import Tokens
from comem_core.backbone.interface import Reader
from comem_core.knowledge.items import KnowledgeItem, hash_content_parts
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.training.loop import Objective
from comem_core.training.loss import compute_token_losses
from comem_core.training.recipe import TrainingRecipe
from comem_core.training.samples import TrainingSample


def compute_loss_from_memory(
    encoder: MemoryEncoder, batch: Sequence[TrainingSample]
) -> tuple[Tensor, Mapping[str, float]]:
    """Compute the cross-entropy of the frozen reader's answers with the samples' memories in front of the questions.

    An item that several samples share is encoded once. Returns the mean loss and measures.
    """
    memories = encode_shown(encoder, [sample.items for sample in batch])
    backbone, prompts = encoder.backbone, encoder.prompts
    conversations = [prompts.make_conversation(s.question, s.image, s.language, answer=s.answer) for s in batch]
    tokens = backbone.tokenize(conversations, generation=False, visual_tokens=encoder.recipe.query_visual_tokens)
    with backbone.switch_adapter(False):
        return compute_answer_loss(backbone, tokens, memories)


def encode_shown(encoder: MemoryEncoder, shown: Sequence[Sequence[KnowledgeItem]]) -> list[Tensor]:
    """Encode the items of each question, with gradients: (K·M, D) per question. Each item is encoded once."""
    encoded = encode_once(encoder, shown)
    return [torch.cat([encoded[item.item_id] for item in items]) for items in shown]


def encode_once(encoder: MemoryEncoder, shown: Sequence[Sequence[KnowledgeItem]]) -> dict[str, Tensor]:
    """Encode each of the items once, with gradients: memory_MD by item_id, in the order of first appearance."""
    unique = {item.item_id: item for items in shown for item in items}
    return dict(zip(unique, encoder.memory(list(unique.values())), strict=True))


def compute_answer_loss(
    reader: Reader, tokens: Tokens, memories: Sequence[Tensor]
) -> tuple[Tensor, Mapping[str, float]]:
    """Compute the cross-entropy of a reader's answers with memories of its width in front: (mean loss, measures)."""
    return compute_loss_of_hidden(reader, tokens, reader.hidden(embed_with_memory(reader, tokens, memories)))


def compute_loss_of_hidden(reader: Reader, tokens: Tokens, hidden_BPD: Tensor) -> tuple[Tensor, Mapping[str, float]]:
    """As `compute_answer_loss`, from the reader's last hidden states."""
    losses_S, predicted_S, right_S = compute_token_losses(reader, hidden_BPD, tokens.ids_BL, tokens.answer_BL)
    return losses_S.mean(), {
        "samples": float(len(tokens.ids_BL)),
        "tokens": float(tokens.mask_BL.sum()),
        "token_accuracy": float((predicted_S == right_S).float().mean()),
    }


class AnswerFromMemory(Objective):
    """The encoder's objective (see `training.loop.Objective`). Each epoch is a new permutation of the samples."""

    def __init__(
        self,
        encoder: MemoryEncoder,
        recipe: TrainingRecipe,
        samples: Sequence[TrainingSample],
        *,
        rank: int = 0,
        num_ranks: int = 1,
    ):
        if not samples:
            raise ValueError("no training sample was kept; the funnel shows why drafts were dropped")
        if bare := [sample.sample_id for sample in samples if not sample.items]:
            raise ValueError(f"{len(bare)} training samples have no item to encode, first {bare[0]!r}")
        if recipe.optimizer.batch_size % num_ranks:
            raise ValueError(
                f"a batch of {recipe.optimizer.batch_size} cannot be split evenly over {num_ranks} workers"
            )
        self.encoder, self.recipe, self.samples = encoder, recipe, samples
        self.rank, self.num_ranks = rank, num_ranks
        encoder.set_trainable(True)

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.encoder.parameters()

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        chosen = [self.samples[index] for index in self._choose_indices(step)]
        return self.compute_batch_loss(
            [replace(sample, items=self._choose_items(sample, step), about=None) for sample in chosen]
        )

    def describe_batch(self, step: int) -> str:
        return f"samples {', '.join(self.samples[index].sample_id for index in self._choose_indices(step))}"

    def describe(self) -> Mapping[str, Any]:
        texts = (
            json.dumps([s.sample_id, s.language, s.question, s.answer, s.about, *(item.text for item in s.items)])
            for s in self.samples
        )
        return {"recipe": asdict(self.recipe), "samples": f"{len(self.samples)} ({hash_content_parts(*texts)})"}

    def compute_batch_loss(self, batch: Sequence[TrainingSample]) -> tuple[Tensor, Mapping[str, float]]:
        """Compute the loss of some samples, independently of the step."""
        return compute_loss_from_memory(self.encoder, batch)

    def _choose_indices(self, step: int) -> list[int]:
        """Return this worker's samples in a step: consecutive places in permutations that are seeded by the epoch."""
        size, count = self.recipe.optimizer.batch_size, len(self.samples)
        indices = []
        for place in range(step * size, (step + 1) * size):
            epoch, offset = divmod(place, count)
            indices.append(_permute(count, self.recipe.optimizer.seed, epoch)[offset])
        return indices[self.rank :: self.num_ranks]

    def _choose_items(self, sample: TrainingSample, step: int) -> tuple[KnowledgeItem, ...]:
        items = sample.items[: self.recipe.items_per_sample]
        random = Random(f"{sample.sample_id}-{step}")
        if self.recipe.random_item_count:
            items = items[: random.randint(1, len(items))]
        if sample.about is not None and random.random() < self.recipe.distractor_share:
            items = self._mix_with_distractors(sample.items[sample.about], len(items), random)
        return items

    @cached_property
    def _by_language(self) -> Mapping[str, Sequence[KnowledgeItem]]:
        """All items of the samples by language. Computed only for distractors, as it hashes every picture."""
        items = {item.item_id: item for sample in self.samples for item in sample.items}
        by_language: dict[str, list[KnowledgeItem]] = {}
        for item_id in sorted(items):
            by_language.setdefault(items[item_id].language, []).append(items[item_id])
        return by_language

    def _mix_with_distractors(self, item: KnowledgeItem, count: int, random: Random) -> tuple[KnowledgeItem, ...]:
        """Return the item and others of its language, `count` in all, in random order."""
        others = [other for other in self._by_language[item.language] if not _is_same_entity(item, other)]
        shown = [item, *random.sample(others, min(count - 1, len(others)))]
        random.shuffle(shown)
        return tuple(shown)


def _is_same_entity(one: KnowledgeItem, other: KnowledgeItem) -> bool:
    return one.item_id == other.item_id or (one.entity_id is not None and one.entity_id == other.entity_id)


@lru_cache(maxsize=2)
def _permute(count: int, seed: int, epoch: int) -> list[int]:
    order = list(range(count))
    Random(f"{seed}-{epoch}").shuffle(order)
    return order
