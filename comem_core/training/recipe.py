"""What decides a training: the optimizer's settings and the encoder's; and how a machine computes it, which decides
nothing. Plain values, which need no torch."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from comem_core.memory.recipe import EncoderRecipe
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE, off_at

LARGEST_SEED = 2**32 - 1
"""The largest seed that every random number generator accepts."""


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """AdamW with warm-up and cosine decay. Defaults are those of the authors' released script (lr 5e-5, clip 3.0)."""

    num_steps: int
    batch_size: int
    learning_rate: float = 5e-5
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_ratio: float = 0.03
    gradient_clip: float = 3.0
    final_learning_rate_ratio: float = 0.0
    seed: int = 0

    # This is also a parameter of flows (for a text-only reader), where an unknown field is an error.
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    def __post_init__(self) -> None:
        """Refuse values outside their range. Raises ValueError that names the field."""
        shares = ("warmup_ratio", "final_learning_rate_ratio")
        are_betas = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        rules = {
            "1 or more": {name: getattr(self, name) >= 1 for name in ("num_steps", "batch_size")},
            "more than 0": {name: getattr(self, name) > 0 for name in ("learning_rate", "gradient_clip")},
            "0 or more": {"weight_decay": self.weight_decay >= 0},
            "0 to 1": {name: 0 <= getattr(self, name) <= 1 for name in shares},
            "two numbers from 0 to below 1": {"betas": are_betas},
            f"0 to {LARGEST_SEED}": {"seed": 0 <= self.seed <= LARGEST_SEED},
        }
        for expected, found in rules.items():
            for name, is_right in found.items():
                if not is_right or getattr(self, name) == math.inf:
                    raise ValueError(f"{name} is {getattr(self, name)}; expected {expected}")


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The settings that decide an encoder. Defaults are the paper's: k = 3, about one epoch, lr 5e-5."""

    version: str = "2026.11.1"
    encoder: EncoderRecipe = field(default_factory=EncoderRecipe)
    optimizer: OptimizerRecipe = field(default_factory=lambda: OptimizerRecipe(num_steps=975, batch_size=16))
    items_per_sample: int = 3
    # Ours: a shipped encoder to start from, by name; None starts from random weights, as the paper does.
    start: str | None = field(default=None, metadata=OFF_AT_NONE)
    # Ours: train on one to `items_per_sample` items, so that the reader also learns to read one item alone.
    random_item_count: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Ours: the share of samples that show the answering item among distractors, in random order. Distractors are items
    # of other samples in the same language. With ranked lists only, the encoder learns to rely on the first item.
    distractor_share: float = field(default=0.0, metadata=off_at(0.0))
    # Ours: show the first 1, 2, 4, ... or all vectors of a sample's items, so that a bank can be shortened afterwards.
    nested_lengths: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Ours: how much of the loss compares the answer's tokens with what the reader expects with the items as text
    # (Hinton et al. 2015, at temperature 1); the rest is the cross-entropy with the sample's answer.
    distillation: float = field(default=0.0, metadata=off_at(0.0))

    def __post_init__(self):
        if self.items_per_sample < 1:
            raise ValueError(f"items_per_sample is {self.items_per_sample}; expected 1 or more")
        for name in ("distractor_share", "distillation"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share from 0 to 1; found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """How a machine computes a training's steps. It changes no result but by rounding, except that another micro-batch
    has another dropout.

    `tokens_at_once` bounds the tokens of a micro-batch, padding included, of items as of questions with their memories;
    None: the whole batch at once. With `gradient_checkpointing`, the activations within a layer are computed again in
    the backward pass instead of being kept. On a CPU, `parts` of a micro-batch are computed at once, each by a thread;
    with a dropout there is one. `sharded` says that the backbone's weights are shared out among the workers
    (`training.sharding`), which then cut their shares of a batch into equally many micro-batches, of one part each.
    """

    tokens_at_once: int | None = None
    gradient_checkpointing: bool = False
    parts: int = 1
    sharded: bool = False
