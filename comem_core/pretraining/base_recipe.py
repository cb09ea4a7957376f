"""What decides the tiny base model: its curriculum and its losses, as plain values that need no torch."""

from dataclasses import dataclass, field, replace
from typing import Any

from comem_core.backbone.small.tiny_recipe import TinyBackboneRecipe
from comem_core.pretraining.encoder_recipe import GuidanceRecipe
from comem_core.training.recipe import OptimizerRecipe


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of the curriculum, for `share` of all steps: the shape of its conversations."""

    share: float
    num_facts: tuple[int, int]
    item_counts: tuple[int, ...]
    num_questions: int
    num_conversations: int
    # How often a question is about the first item rather than a random one: retrieved items come in rank order.
    first_share: float = 0.0
    # Whether all items of a conversation state the same kinds of fact, and how often an item is a look-alike of one of
    # the others.
    rivals: bool = False
    lookalike_share: float = 0.0
    # How often the flags of a conversation are real flags of the train split, with facts of no real country.
    borrowed_share: float = 0.0


# Reading is learnt on short conversations: one item with one or two facts. In a long one, the value to copy is one
# token of a hundred and gives hardly any gradient. Later conversations are longer.
MANY_ITEMS = Phase(
    share=0.2, num_facts=(2, 7), item_counts=(0, 1, 1, 2, 3, 3, 4), num_questions=4, num_conversations=16
)


CURRICULUM = (
    Phase(share=0.12, num_facts=(1, 2), item_counts=(1,), num_questions=2, num_conversations=32),
    Phase(share=0.18, num_facts=(2, 7), item_counts=(1,), num_questions=3, num_conversations=24),
    MANY_ITEMS,
    replace(MANY_ITEMS, share=0.5, first_share=0.6),
)


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe:
    """What decides the tiny base model."""

    version: str = "2026.11.1"
    backbone: TinyBackboneRecipe = field(default_factory=TinyBackboneRecipe)
    optimizer: OptimizerRecipe = field(
        default_factory=lambda: OptimizerRecipe(
            num_steps=2200,
            batch_size=16,
            learning_rate=2e-3,
            weight_decay=0.01,
            betas=(0.9, 0.98),
            warmup_ratio=0.02,
            gradient_clip=1.0,
            final_learning_rate_ratio=0.02,
        )
    )
    prompts: str = "short"
    languages: tuple[str, ...] = ("en", "es", "ru", "zh", "ar")
    curriculum: tuple[Phase, ...] = CURRICULUM
    ask_share: float = 0.05
    document_weight: float = 0.5
    contrastive_weight: float = 0.5
    contrastive_temperature: float = 0.1
    # Rows and columns of the grid in which pictures are compared; (1, 1) compares their mean visual tokens.
    contrastive_grid: tuple[int, int] = (1, 1)
    guidance: GuidanceRecipe | None = None


# Only the picture shows which item is asked about: all items state the same kinds of fact, in any order.
FEW_FACTS = Phase(
    share=0.35, num_facts=(1, 2), item_counts=(2, 3, 3, 4), num_questions=4, num_conversations=12, rivals=True
)


FINDING = (
    FEW_FACTS,
    replace(FEW_FACTS, share=0.65, num_facts=(2, 7), item_counts=(0, 1, 2, 3, 3, 4, 5), lookalike_share=0.3),
)


RANKED = (
    replace(
        FINDING[-1],
        share=1.0,
        item_counts=(0, 1, 2, 3, 3, 3, 4, 5),
        first_share=0.6,
        lookalike_share=0.6,
        borrowed_share=0.6,
    ),
)


def make_finding_recipe() -> PretrainingRecipe:
    """Return the recipe after reading: the base learns to find the item that a question is about."""
    optimizer = OptimizerRecipe(
        num_steps=900,
        batch_size=12,
        learning_rate=1e-3,
        weight_decay=0.01,
        betas=(0.9, 0.98),
        warmup_ratio=0.02,
        gradient_clip=1.0,
        final_learning_rate_ratio=0.02,
        seed=1,
    )
    return PretrainingRecipe(optimizer=optimizer, curriculum=FINDING, document_weight=0.2, guidance=GuidanceRecipe())


def make_ranking_recipe() -> PretrainingRecipe:
    """Return the recipe after finding: look-alikes, with the first item right more often than not, as in a ranked list.

    Pictures are compared cell by cell, as in retrieval.
    """
    return _make_later_recipe(
        num_steps=600,
        seed=2,
        curriculum=RANKED,
        guidance=GuidanceRecipe(matching_strength=0.0),
        contrastive_grid=(3, 4),
    )


def _make_later_recipe(*, num_steps: int, seed: int, **changes: Any) -> PretrainingRecipe:
    optimizer = replace(
        PretrainingRecipe().optimizer, num_steps=num_steps, batch_size=12, learning_rate=1e-3, seed=seed
    )
    return PretrainingRecipe(optimizer=optimizer, document_weight=0.2, **changes)
