"""How a GPU computes a training step unless it is told otherwise, so that one of the 7B recipes fits on one card.

Plain values, which need no other package. `comem_core.training.recipe.ComputeOptions` has the meaning of each.
"""

TOKENS_AT_ONCE = 8192
GRADIENT_CHECKPOINTING = True
