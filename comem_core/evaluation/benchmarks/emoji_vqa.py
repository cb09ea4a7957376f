"""emoji-vqa: what a thing is called, and a keyword for it, asked in eight languages about pictures of two artists.

The data ship with the emoji world. The item about a thing has another artist's picture and words in one of a hundred
languages; `cross_language` asks in another language than the item's for a word that stands in it.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.knowledge.items import Question
from comem_core.worlds.emoji import world


def read(part: str, folder: Path | None) -> Iterator[Question]:
    """Yield the questions of a part ("dev" or "test"). Raises ValueError for any other."""
    yield from world.load_benchmark_questions(part)


@cache
def read_held_out() -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Return the emoji of dev and test, about which nothing is asked in training."""
    return frozenset(each.emoji_id for each in world.load_emoji() if each.split != "train"), frozenset()


BENCHMARK = Benchmark(
    name=world.BENCHMARK,
    source=world.ITEM_SOURCE,
    licence="Apache-2.0 AND MIT AND CC-BY-4.0 AND Unicode-3.0",
    parts=world.PARTS,
    tuning_part="dev",
    read=read,
    revision=lambda part, folder: world.name_revision(),
    metrics=lambda folder: (INFOSEEK,),
    cluster_by="entity_id",  # one item answers the questions about both pictures of a thing
    names_items=True,
    seeds=lambda folder: iter(world.load_seed_questions()),
    held_out=read_held_out,
)
