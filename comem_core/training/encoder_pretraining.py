"""The encoder's start: reading imaginary countries from memory, before it sees any real one.

The paper has no such stage: a 7B encoder starts from a model that has read the web. Ours starts from nothing, and the
few samples of a demo are too few to learn from nothing what a memory is. Every batch is a function of (seed, step).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from torch import Tensor, nn

from comem_core.memory.encoder import EncoderRecipe, MemoryEncoder
from comem_core.training.curriculum import phase_at
from comem_core.training.loop import OptimizerRecipe
from comem_core.training.memory import TrainingSample, loss_from_memory
from comem_core.worlds.imaginary.countries import draw_country, draw_question


@dataclass(frozen=True, kw_only=True)
class EncoderPhase:
    """One part of the curriculum, for `share` of all steps: facts an item, items a question, items a step.

    `first_share` is how often a question is about the first item rather than any: retrieved items stand in rank order.
    """

    share: float
    num_facts: tuple[int, int]
    item_counts: tuple[int, ...]
    num_items: int
    num_questions: int
    first_share: float = 0.0


ENCODER_CURRICULUM = (
    EncoderPhase(share=0.15, num_facts=(1, 2), item_counts=(1,), num_items=24, num_questions=3),
    EncoderPhase(share=0.25, num_facts=(2, 7), item_counts=(1,), num_items=16, num_questions=4),
    EncoderPhase(
        share=0.6, num_facts=(4, 7), item_counts=(1, 1, 2, 3, 3), num_items=16, num_questions=4, first_share=0.6
    ),
)


@dataclass(frozen=True, kw_only=True)
class EncoderPretrainingRecipe:
    """What decides the encoder's start."""

    version: str = "2026.11.1"
    encoder: EncoderRecipe = field(
        default_factory=lambda: EncoderRecipe(num_heads=4, match_embedding_norm=True, copying_start=True)
    )
    optimizer: OptimizerRecipe = field(
        default_factory=lambda: OptimizerRecipe(
            num_steps=1000,
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


class ImaginaryMemory:
    """The objective of the encoder's start (see `training.loop.Objective`)."""

    def __init__(self, encoder: MemoryEncoder, recipe: EncoderPretrainingRecipe):
        self.encoder, self.recipe = encoder, recipe
        encoder.set_trainable(True)

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.encoder.parameters()

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        return loss_from_memory(self.encoder, self.batch(step))

    def batch(self, step: int) -> list[TrainingSample]:
        """Questions about the step's countries, each with its country's item among others in the same language."""
        random = Random(f"encoder-{self.recipe.optimizer.seed}-{step}")
        phase = self._phase(step)
        count = random.choice(phase.item_counts)
        samples: list[TrainingSample] = []
        while len(samples) < phase.num_items * phase.num_questions:
            language = random.choice(self.recipe.languages)
            countries = [
                draw_country(random, language, num_facts=random.randint(*phase.num_facts)) for _ in range(count)
            ]
            items = tuple(country.item(random) for country in countries)
            for _ in range(phase.num_questions * count):
                about = countries[0] if random.random() < phase.first_share else random.choice(countries)
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
                    )
                )
        return samples

    def _phase(self, step: int) -> EncoderPhase:
        return phase_at(self.recipe.curriculum, step / self.recipe.optimizer.num_steps)
