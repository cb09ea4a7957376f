"""own: questions about a corpus's own items, asked by the VLM and set aside by the filters before training.

Gold is the answer that the VLM gave with the items in its prompt, where it agreed with itself and could not answer
without them. So a score says how much of what the VLM reads in the text it still reads in the memory, and not how
often it is right about the world.
"""

from collections.abc import Iterator

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.metrics import score_answer
from comem_core.knowledge.items import Question

NAME, SPLIT = "own", "held_out"


def _load(part: str) -> Iterator[Question]:
    """Yield nothing: a run sets the questions aside itself (`FilterRecipe.held_out_share`)."""
    yield from ()


OWN = Benchmark(
    name=NAME,
    source="the run's own corpus",
    licence="that of the corpus",
    parts=("test",),
    splits=(SPLIT,),
    cluster_by="gold_item_id",  # questions about one item share its text
    revision=lambda: "1",
    load=_load,
    score=score_answer,
    seeds=lambda: _load("train"),
    held_out=lambda: (frozenset(), frozenset()),
)
