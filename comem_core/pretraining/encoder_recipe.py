"""What decides the encoder's start: its curriculum, as plain values that need no torch."""

from dataclasses import dataclass, field

from comem_core.memory.recipe import EncoderRecipe
from comem_core.pretraining.curriculum import find_phase_at
from comem_core.training.recipe import OptimizerRecipe


@dataclass(frozen=True, kw_only=True)
class GuidanceRecipe:
    """Which layers are guided, in their first `num_heads` heads, and the weights of the two losses."""

    gathering_layer: int = 1
    finding_layer: int = 3
    num_heads: int = 2
    gathering_weight: float = 0.5
    finding_weight: float = 1.0
    # How strongly finding heads attend to similar tokens at the start (see `start_matching`).
    matching_strength: float = 1.5


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
            # Twice the paper's 8: a vector here has 128 numbers, one of a 7B 3,584 (docs/countries.md has the curve).
            num_vectors=16,
            num_heads=4,
            lora_dropout=0.0,
            match_embedding_norm=True,
            copying_start=True,
            reads_embeddings=True,
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


def find_phase(recipe: EncoderPretrainingRecipe, step: int) -> EncoderPhase:
    """Return the phase that a step belongs to."""
    return find_phase_at(recipe.curriculum, step / recipe.optimizer.num_steps)
