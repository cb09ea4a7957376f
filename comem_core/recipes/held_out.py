"""The questions that are held out from scoring, on which an evaluation learns how many items to show and when to trust
them."""

from dataclasses import dataclass

from comem_core.ranges import OneOrMore, Share


@dataclass(frozen=True, kw_only=True)
class HeldOutRecipe:
    """How many questions something is learnt on, and what it may cost: at most `max_loss` of their score (0 to 1).

    They are questions of the benchmark's tuning part. The number of items is chosen among `k_among`: the fewest that
    cost no more; with () it is the recipe's. Of a benchmark without a tuning part, a fold is then not scored. The gate
    of the condition `gated` is the most cautious one that costs no more. Without a tuning part, the questions of a fold
    are gated by what was fitted on all other folds.
    """

    num_questions: OneOrMore = 400
    max_loss: Share = 0.005
    k_among: tuple[OneOrMore, ...] = ()
