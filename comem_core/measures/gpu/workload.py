"""What the GPU kit measures with: the shape of the model, and how much of everything. Plain values.

The settings of the method (batch, items of a sample, the encoder's shape, sizes of pictures) are those of the recipe
`comem_qwen25_vl_7b`, whatever the shape of the model.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from comem_core.recipes import find_recipe
from comem_core.recipes.recipe import Recipe
from comem_core.training import gpu_defaults
from comem_core.training.estimate import ITEM_TOKENS

RECIPE, CONFIGURATION = "comem_qwen25_vl_7b", "qwen2_5_vl_7b_instruct"
# A matrix that reads d numbers has the deviation GAIN / sqrt(d), so it multiplies their size by about GAIN. With the
# published 0.02 that would be 1.2 at the 7B's width. Without training, 28 such layers turn bfloat16's rounding into a
# seventh of the gradient (docs/log.md), and no comparison of gradients would mean anything.
GAIN = 0.3


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is measured with one shape of the model. Lengths are in tokens.

    `changes` are made to the published configuration of the 7B. `tokens_at_once` bounds a micro-batch in training;
    `tokens_when_cut` does where a step in micro-batches is compared with an unsplit one, so that questions are cut as
    well as items. `free_gb` (10⁹ bytes) is what the device must have free.
    """

    name: str
    recipe: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int
    items_per_sample: int
    item_tokens: int
    depths: tuple[int, ...]
    encode_batch: int
    answer_batch: int
    new_tokens: int
    tokens_at_once: int
    tokens_when_cut: int
    repeats: int
    free_gb: float

    @property
    def num_items(self) -> int:
        """The number of different items that are needed; the texts of fewer would not fill one."""
        return max(16, self.batch_size * self.items_per_sample, *self.depths, self.encode_batch)


def make_full_workload(recipe: Recipe) -> Workload:
    """Return the workload of the real shape, with the settings of the recipe."""
    return Workload(
        name="7b",
        recipe="random_qwen25_vl_7b",
        changes={
            "initializer_range": GAIN / math.sqrt(3584),
            "vision_config": {"initializer_range": GAIN / math.sqrt(1280)},
        },
        batch_size=recipe.training.optimizer.batch_size,
        items_per_sample=recipe.training.items_per_sample,
        item_tokens=ITEM_TOKENS,
        depths=(3, 10, 50),
        encode_batch=16,
        answer_batch=32,
        new_tokens=recipe.evaluation.max_new_tokens,
        tokens_at_once=gpu_defaults.TOKENS_AT_ONCE,
        tokens_when_cut=2048,
        repeats=5,
        # Computed from shapes, not measured: 16.6 of weights, 3.7 of the encoder in training, and activations.
        free_gb=36,
    )


SMALL = Workload(
    name="small",
    recipe="random_small",
    changes={
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 4096,
        "initializer_range": GAIN / math.sqrt(64),
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
            "initializer_range": GAIN / math.sqrt(32),
        },
    },
    batch_size=2,
    items_per_sample=2,
    item_tokens=340,
    depths=(1, 3),
    encode_batch=4,
    answer_batch=4,
    new_tokens=4,
    tokens_at_once=1024,
    tokens_when_cut=500,
    repeats=2,
    free_gb=1,
)
WORKLOADS: Mapping[str, Workload] = {each.name: each for each in (make_full_workload(find_recipe(RECIPE)), SMALL)}
