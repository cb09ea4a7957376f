"""The encoder's start: reading imaginary countries from memory, before the encoder sees any real one.

The paper has no such stage: a 7B encoder starts from a model that has read the web. Ours starts from scratch, and a
demo has too few samples to learn what a memory is. There are three losses besides the paper's own (docs/log.md has
their ablations). Reconstruction: the memory must show which values its item states. Likeness: the memory must be near
what the reader gathers from the picture of its item. Finding: the reader's attention is guided to the memory of the
item that answers. Every batch is a function of (seed, step).

Shapes: B items, M vectors of an item, D width, V names and values of the world.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from comem_core.backbone.interface import Embedded, Tokens
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.memory.encoder import EncoderRecipe, MemoryEncoder
from comem_core.memory.injection import inject
from comem_core.pretraining.curriculum import find_phase_at
from comem_core.pretraining.guidance import (
    GuidanceRecipe,
    Watched,
    compute_finding_loss,
    compute_gathered,
    compute_guided_heads,
    find_places_of_memories,
    watch,
)
from comem_core.training.loop import Objective, OptimizerRecipe
from comem_core.training.memory import TrainingSample, compute_loss_of_hidden, encode_once
from comem_core.worlds.countries.world import list_vocabulary
from comem_core.worlds.imaginary.countries import draw_country, draw_question, draw_rival


@dataclass(frozen=True, kw_only=True)
class EncoderPhase:
    """One part of the curriculum, for `share` of all steps.

    An item has `num_facts` facts (lowest, highest); a question has one of `item_counts` items; a step has `num_items` *
    `num_questions` questions. `first_share` is how often a question is about the first item rather than a random one:
    retrieved items come in rank order. The weights are those of the losses besides the loss of the answers.
    """

    share: float
    num_facts: tuple[int, int]
    item_counts: tuple[int, ...]
    num_items: int
    num_questions: int
    first_share: float = 0.0
    # How often another item of a question is a look-alike of the first drawn; all state the same kinds of fact.
    lookalike_share: float = 0.0
    # How often the flags of a question are real flags of the train split, with facts of no real country.
    borrowed_share: float = 0.0
    reconstruction_weight: float = 0.0
    likeness_weight: float = 0.0
    finding_weight: float = 0.0


# One item until its memory states its values; after that, reconstruction would displace what tells items apart.
ENCODER_CURRICULUM = (
    EncoderPhase(
        share=0.2,
        num_facts=(4, 7),
        item_counts=(1,),
        num_items=16,
        num_questions=4,
        reconstruction_weight=0.5,
        likeness_weight=0.1,
    ),
    EncoderPhase(
        share=0.8,
        num_facts=(4, 7),
        item_counts=(1, 2, 3, 3, 4),
        num_items=16,
        num_questions=4,
        first_share=0.4,
        lookalike_share=0.4,
        borrowed_share=0.6,
        likeness_weight=0.2,
        finding_weight=0.3,
    ),
)


@dataclass(frozen=True, kw_only=True)
class EncoderPretrainingRecipe:
    """What decides the encoder's start."""

    version: str = "2026.11.1"
    encoder: EncoderRecipe = field(
        default_factory=lambda: EncoderRecipe(
            num_heads=4, lora_dropout=0.0, match_embedding_norm=True, copying_start=True, reads_embeddings=True
        )
    )
    optimizer: OptimizerRecipe = field(
        default_factory=lambda: OptimizerRecipe(
            num_steps=1300,
            batch_size=64,
            learning_rate=2e-3,
            weight_decay=0.01,
            betas=(0.9, 0.98),
            gradient_clip=1.0,
            final_learning_rate_ratio=0.02,
        )
    )
    languages: tuple[str, ...] = ("en", "es", "ru", "zh", "ar")
    curriculum: tuple[EncoderPhase, ...] = ENCODER_CURRICULUM
    reconstruction_temperature: float = 0.07
    likeness_temperature: float = 0.05
    guidance: GuidanceRecipe = field(default_factory=GuidanceRecipe)


class ImaginaryMemory(Objective):
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
        encoded = encode_once(self.encoder, [sample.items for sample in batch])
        memories = [torch.cat([encoded[item.item_id] for item in sample.items]) for sample in batch]
        asked = [
            self.encoder.prompts.make_conversation(s.question, s.image, s.language, answer=s.answer) for s in batch
        ]
        tokens = backbone.tokenize(asked, generation=False, visual_tokens=self.encoder.recipe.query_visual_tokens)
        with backbone.switch_adapter(False):
            embedded = inject(backbone.embed(tokens), memories)
            watched = watch(backbone, embedded)
            loss, measures = compute_loss_of_hidden(backbone, tokens, watched.hidden_BLD)
            pictures_QD = compute_gathered(backbone, tokens, watched, self.recipe.guidance)
        memory_BMD = torch.stack(list(encoded.values()))
        texts = {item.item_id: item.text for sample in batch for item in sample.items}
        shaping = {
            "reconstruction": self.compute_reconstruction(memory_BMD, [texts[item_id] for item_id in encoded]),
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


def find_phase(recipe: EncoderPretrainingRecipe, step: int) -> EncoderPhase:
    """Return the phase that a step belongs to."""
    return find_phase_at(recipe.curriculum, step / recipe.optimizer.num_steps)


def draw_batch(recipe: EncoderPretrainingRecipe, step: int) -> list[TrainingSample]:
    """Draw questions about the step's countries, each with its country's item among others in the same language."""
    random, phase = Random(f"encoder-{recipe.optimizer.seed}-{step}"), find_phase(recipe, step)
    count = random.choice(phase.item_counts)
    samples: list[TrainingSample] = []
    while len(samples) < phase.num_items * phase.num_questions:
        language = random.choice(recipe.languages)
        first = draw_country(
            random, language, num_facts=random.randint(*phase.num_facts), borrowed_share=phase.borrowed_share
        )
        rivals = [random.random() < phase.lookalike_share for _ in range(count - 1)]
        countries = [first, *(draw_rival(random, first, lookalike=lookalike) for lookalike in rivals)]
        random.shuffle(countries)
        items = tuple(country.item(random) for country in countries)
        for _ in range(phase.num_questions * count):
            place = 0 if random.random() < phase.first_share else random.randrange(count)
            about = countries[place]
            question, answer = draw_question(random, about)
            picture = about.picture(random)
            samples.append(
                TrainingSample(
                    sample_id=f"{step}-{len(samples)}",
                    question=question,
                    image=picture,
                    language=language,
                    answer=answer,
                    items=items,
                    about=place,
                )
            )
    return samples


def _find_right_places(item_ids: Sequence[str], batch: Sequence[TrainingSample]) -> list[int]:
    """Return the place of each sample's right item in `item_ids`, the distinct items of a batch."""
    place = {item_id: index for index, item_id in enumerate(item_ids)}
    return [place[sample.items[sample.about or 0].item_id] for sample in batch]
