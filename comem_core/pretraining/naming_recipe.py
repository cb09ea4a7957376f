"""What decides the encoder of `smol_cpu`, as plain values that need no torch."""

from dataclasses import dataclass, field

from comem_core.backbone.images import VisualTokens
from comem_core.memory.recipe import EncoderRecipe
from comem_core.training.recipe import OptimizerRecipe

SHARES = ("invented_share", "real_share", "product_share", "prose_share")
UNSTATED = "not stated"
"""What is answered to a question whose answer a passage does not state."""
READING = "reading"
"""What a run calls the time in which passages are read, before its stages."""


@dataclass(frozen=True, kw_only=True)
class NamingStage:
    """One part of the training, with an optimizer of its own. `optimizer.batch_size` is the passages of a step.

    Each is asked `num_questions` questions (0: the reader does not run), for `beside_share` of them with the memories
    of one to `max_beside` other passages before and after. `closeness_weight` is how much a vector should be equal to
    the embedding of its token, not only nearest to it.
    """

    name: str
    optimizer: OptimizerRecipe
    naming_weight: float = 1.0
    closeness_weight: float = 1.0
    num_questions: int = 0
    beside_share: float = 0.0
    max_beside: int = 2


def _make_optimizer(num_steps: int, batch_size: int, learning_rate: float) -> OptimizerRecipe:
    return OptimizerRecipe(
        num_steps=num_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=0.01,
        betas=(0.9, 0.98),
        warmup_ratio=0.06,
        gradient_clip=1.0,
        final_learning_rate_ratio=0.05,
    )


# First the vectors learn to name the tokens of the values, which needs no reader; then to be what it answers from.
NAMING_STAGES = (
    NamingStage(name="naming", optimizer=_make_optimizer(800, 32, 1e-3)),
    NamingStage(
        name="answering",
        optimizer=_make_optimizer(500, 16, 3e-4),
        naming_weight=0.5,
        closeness_weight=0.0,
        num_questions=2,
        beside_share=0.35,
    ),
)


@dataclass(frozen=True, kw_only=True)
class NamingRecipe:
    """What decides the encoder of `smol_cpu`."""

    version: str = "2026.11.2"
    encoder: EncoderRecipe = field(
        default_factory=lambda: EncoderRecipe(
            lora_rank=1,
            lora_alpha=2,
            lora_dropout=0.0,
            num_vectors=24,
            num_rounds=4,
            num_heads=9,
            prompts="smol",
            item_visual_tokens=VisualTokens(max=6),
            query_visual_tokens=VisualTokens(max=1),
            match_embedding_norm=True,
            copying_start=True,
            reads_embeddings=True,
            reads_counts=True,
        )
    )
    stages: tuple[NamingStage, ...] = NAMING_STAGES
    num_passages: int = 12_000
    num_facts: tuple[int, int] = (1, 6)
    invented_share: float = 0.75
    real_share: float = 0.08
    product_share: float = 0.09
    # Of the invented passages: those with several facts in a sentence.
    prose_share: float = 0.0
    # Of the questions about invented passages: those that the passage does not answer. The answer is then `UNSTATED`.
    unstated_share: float = 0.0
    seed: int = 0
    # Hash of the weights that the training goes on from (None: random ones).
    start: str | None = None
    # Inner products of memory and embeddings times this are the logits (both have a norm of about 3.2).
    naming_scale: float = 4.0
    # Tokens that a vector is told apart from, besides those of the batch's passages.
    num_drawn_tokens: int = 2000
    # Whether a vector names a comma after each value. Without, more values fit, and answering has to tell them apart.
    names_commas: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError if a step takes more passages than there are, or a share is none."""
        shares = self.shares | {"unstated_share": self.unstated_share}
        if faults := [f"{name} is {share:g}" for name, share in shares.items() if not 0 <= share <= 1]:
            raise ValueError(f"{', '.join(faults)}; expected a share from 0 to 1")
        for stage in self.stages:
            if self.num_passages < (size := stage.optimizer.batch_size):
                raise ValueError(f"{self.num_passages} passages; a step of {stage.name} takes {size}, so give more")

    @property
    def shares(self) -> dict[str, float]:
        """The shares of passages, as `passages.draw_passage` takes them; imaginary countries are the rest."""
        return {name: getattr(self, name) for name in SHARES}
