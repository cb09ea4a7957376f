"""own: questions about a corpus's own items, asked by the VLM and held out by the filters before training.

The gold answer is what the VLM answered with the items in its prompt, if it was consistent and could not answer without
them. So a score says how much of what the VLM reads in the text it still reads in the memory. It does not say how often
the VLM is right about the world.
"""

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.metrics.same_answer import SAME_ANSWER

NAME, SPLIT = "own", "held_out"

BENCHMARK = Benchmark(
    name=NAME,
    source="the run's own corpus",
    licence="that of the corpus",
    parts=("test",),
    read=lambda part, folder: iter(()),  # a run holds out the questions itself (`FilterRecipe.held_out_share`)
    revision=lambda part, folder: "1",
    metrics=lambda folder: (SAME_ANSWER,),
    cluster_by="gold_item_id",  # questions about one item share its text
)
