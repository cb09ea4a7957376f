"""The questions that are held out from scoring, on which an evaluation learns when to trust memory."""

from dataclasses import dataclass

from comem_core.ranges import OneOrMore, Share


@dataclass(frozen=True, kw_only=True)
class HeldOutRecipe:
    """How many questions the gate of the condition `gated` is fitted on, and what it may cost.

    They are questions of the benchmark's tuning part. A benchmark without one is cut into folds, and the questions of a
    fold are gated by what was fitted on all other folds. The gate is the most cautious one with which the questions
    that it is fitted on lose at most `max_loss` of their score (a share of 1).
    """

    num_questions: OneOrMore = 400
    max_loss: Share = 0.005
