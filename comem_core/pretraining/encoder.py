"""The encoder's start: reading imaginary countries from memory, before the encoder sees any real one.

The paper has no such stage: a 7B encoder starts from a model that has read the web. Ours starts from scratch, and a
demo has too few samples to learn what a memory is. There are three losses besides the paper's own (docs/log.md has
their ablations). Reconstruction: the memory must show which values its item states. Likeness: the memory must be near
what the reader gathers from the picture of its item. Finding: the reader's attention is guided to the memory of the
item that answers. Every batch is a function of (seed, step).

Shapes: B items, M vectors of an item, D width, V names and values of the world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.reader import Reader
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.pretraining.encoder_recipe import EncoderPhase, EncoderPretrainingRecipe, find_phase
from comem_core.pretraining.guidance import (
    Watched,
    compute_finding_loss,
    compute_gathered,
    compute_guided_heads,
    find_places_of_memories,
    watch,
)
from comem_core.pretraining.imagined import draw_batch
from comem_core.training.loop import LossObjective
from comem_core.training.loss import compute_token_losses
from comem_core.training.samples import TrainingSample
from comem_core.worlds.countries.world import list_vocabulary


class ImaginaryMemory(LossObjective):
    """The objective of the encoder's start (see `training.loop.Objective`)."""

    def __init__(self, encoder: MemoryEncoder, recipe: EncoderPretrainingRecipe):
        if not isinstance(encoder.backbone, QwenVL):
            raise ValueError(f"the encoder's start is trained on a Qwen2.5-VL, not on {encoder.backbone.name!r}")
        self.encoder, self.recipe, self.backbone = encoder, recipe, encoder.backbone
        encoder.set_trainable(True)
        tokenizer = self.backbone.tokenizer
        values = {value for values in list_vocabulary().values() for value in values}
        self.values_V = torch.tensor(sorted(set(tokenizer.convert_tokens_to_ids(sorted(values)))))

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.encoder.parameters()

    def describe(self) -> Mapping[str, Any]:
        return {"recipe": asdict(self.recipe)}

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        batch, backbone, phase = self.batch(step), self.backbone, self._find_phase(step)
        items = {item.item_id: item for sample in batch for item in sample.items}
        encoded = dict(zip(items, self.encoder.memory(list(items.values())), strict=True))
        memories = [torch.cat([encoded[item.item_id] for item in sample.items]) for sample in batch]
        asked = [
            self.encoder.prompts.make_conversation(s.question, s.image, s.language, answer=s.answer) for s in batch
        ]
        tokens = backbone.tokenize(asked, generation=False, visual_tokens=self.encoder.recipe.query_visual_tokens)
        with backbone.switch_adapter(False):
            embedded = embed_with_memory(backbone, tokens, memories)
            watched = watch(backbone, embedded)
            loss, measures = _compute_loss_of_hidden(backbone, tokens, watched.hidden_BLD)
            pictures_QD = compute_gathered(backbone, tokens, watched, self.recipe.guidance)
        memory_BMD = torch.stack(list(encoded.values()))
        shaping = {
            "reconstruction": self.compute_reconstruction(memory_BMD, [item.text for item in items.values()]),
            "likeness": self.compute_likeness(memory_BMD, pictures_QD, _find_right_places(list(encoded), batch)),
        }
        if len(batch[0].items) > 1:
            shaping["finding"] = self._compute_finding(watched, tokens, embedded, batch)
        for name, term in shaping.items():
            if weight := getattr(phase, f"{name}_weight"):
                loss = loss + weight * term
        return loss, dict(measures) | {name: float(term.detach()) for name, term in shaping.items()}

    def _compute_finding(
        self, watched: Watched, tokens: Tokens, embedded: Embedded, batch: Sequence[TrainingSample]
    ) -> Tensor:
        guidance, num_vectors = self.recipe.guidance, self.encoder.recipe.num_vectors
        places = find_places_of_memories(tokens, embedded, [sample.about for sample in batch], num_vectors=num_vectors)
        return compute_finding_loss(compute_guided_heads(watched.attentions, guidance.finding_layer, guidance), places)

    def compute_likeness(self, memory_BMD: Tensor, pictures_QD: Tensor, about_Q: Sequence[int]) -> Tensor:
        """Return the cross-entropy of choosing the right item among all items of the batch, by likeness.

        The likeness is the mean cosine of an item's vectors with what the reader gathers from the question's picture,
        minus the mean over all pictures.
        """
        pictures_QD = normalize(pictures_QD - pictures_QD.mean(dim=0), dim=-1)
        near_QB = torch.einsum("bmd,qd->qb", normalize(memory_BMD, dim=-1), pictures_QD) / memory_BMD.shape[1]
        return cross_entropy(near_QB / self.recipe.likeness_temperature, torch.tensor(about_Q))

    def compute_reconstruction(self, memory_BMD: Tensor, texts: Sequence[str]) -> Tensor:
        """Return the cross-entropy of choosing an item's values among all values of the world.

        A value is scored by the cosine of its token embedding with the vectors of the item, where the nearest counts
        most.
        """
        embeddings: Any = self.backbone.model.get_input_embeddings()
        embeddings_VD = embeddings.weight[self.values_V]
        near_BMV = normalize(memory_BMD, dim=-1) @ normalize(embeddings_VD, dim=-1).T
        share_BV = (near_BMV / self.recipe.reconstruction_temperature).logsumexp(dim=1).log_softmax(dim=-1)
        ids = self.backbone.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        stated_BV = torch.stack([torch.isin(self.values_V, torch.tensor(each)) for each in ids])
        return -((share_BV * stated_BV).sum(dim=1) / stated_BV.sum(dim=1)).mean()

    def batch(self, step: int) -> list[TrainingSample]:
        """Draw the samples of a step (see `draw_batch`)."""
        return draw_batch(self.recipe, step)

    def _find_phase(self, step: int) -> EncoderPhase:
        return find_phase(self.recipe, step)


def _find_right_places(item_ids: Sequence[str], batch: Sequence[TrainingSample]) -> list[int]:
    """Return the place of each sample's right item in `item_ids`, the distinct items of a batch."""
    place = {item_id: index for index, item_id in enumerate(item_ids)}
    return [place[sample.items[sample.about or 0].item_id] for sample in batch]


def _compute_loss_of_hidden(reader: Reader, tokens: Tokens, hidden_BPD: Tensor) -> tuple[Tensor, Mapping[str, float]]:
    """Compute the mean cross-entropy of a reader's answers from its last hidden states, and measures."""
    losses_S, predicted_S, right_S = compute_token_losses(reader, hidden_BPD, tokens.ids_BL, tokens.answer_BL)
    return losses_S.mean(), {
        "samples": float(len(tokens.ids_BL)),
        "tokens": float(tokens.mask_BL.sum()),
        "token_accuracy": float((predicted_S == right_S).float().mean()),
    }
