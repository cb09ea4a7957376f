"""When a training sample counts as the same as a benchmark's question."""

from dataclasses import dataclass

from comem_core.ranges import HashBits, NoneOrMore, OneOrMore, Share


@dataclass(frozen=True, kw_only=True)
class ContaminationRecipe:
    """When a sample counts as the same as a benchmark's question (docs/benchmarks.md): the pictures differ in at most
    `near_bits` of 128 bits, or the questions share `min_share` of their runs of `run_words` words. Words that are asked
    about more than `max_pictures` pictures are a template.
    """

    near_bits: HashBits = 6
    run_words: OneOrMore = 8
    min_share: Share = 0.5
    max_pictures: NoneOrMore = 2
