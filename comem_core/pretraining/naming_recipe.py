"""What decides the encoder of `smol_cpu`, as plain values that need no torch."""

from dataclasses import dataclass, field

from comem_core.backbone.images import VisualTokens
from comem_core.memory.recipe import EncoderRecipe
from comem_core.training.recipe import OptimizerRecipe


@dataclass(frozen=True, kw_only=True)
class NamingPhase:
    """One part of the curriculum, for `share` of all steps.

    A passage has `num_facts` facts (lowest, highest) and a step has `num_passages` passages, of which `num_asked` are
    asked about, with `num_questions` questions each. Values are named for the step's passages, and for those of the
    steps that lie `named_again` steps back, which the backbone does not read again.
    """

    share: float
    num_facts: tuple[int, int]
    num_passages: int = 8
    num_asked: int = 2
    num_questions: int = 2
    named_again: tuple[int, ...] = (10, 20)


# Few facts first: then there is a vector for each token of the values.
NAMING_CURRICULUM = (
    NamingPhase(share=0.7, num_facts=(1, 2)),
    NamingPhase(share=0.3, num_facts=(1, 4)),
)


@dataclass(frozen=True, kw_only=True)
class NamingRecipe:
    """What decides the encoder of `smol_cpu`."""

    version: str = "2026.11.1"
    encoder: EncoderRecipe = field(
        default_factory=lambda: EncoderRecipe(
            lora_rank=1,
            lora_alpha=2,
            lora_dropout=0.0,
            num_heads=9,
            prompts="smol",
            item_visual_tokens=VisualTokens(max=6),
            query_visual_tokens=VisualTokens(max=1),
            match_embedding_norm=True,
            copying_start=True,
        )
    )
    optimizer: OptimizerRecipe = field(
        default_factory=lambda: OptimizerRecipe(
            num_steps=360,
            batch_size=8,
            learning_rate=1e-3,
            weight_decay=0.01,
            betas=(0.9, 0.98),
            gradient_clip=1.0,
            final_learning_rate_ratio=0.05,
        )
    )
    curriculum: tuple[NamingPhase, ...] = NAMING_CURRICULUM
    answer_weight: float = 0.5
    real_share: float = 0.25
    product_share: float = 0.2
    # Inner products of memory and embeddings times this are the logits (both have a norm of about 3.2).
    naming_scale: float = 4.0
