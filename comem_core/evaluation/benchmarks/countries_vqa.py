"""countries-vqa: questions in five languages about the capital, currency, neighbours ... of the country of a flag.

The data ship with the countries world, which also turns (country, attribute, language) into a question. Splits and
metric are InfoSeek's: `unseen_entity` asks about countries that no training question is about; `unseen_question` asks
about known countries, but for facts that no training question asks for.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.metrics.infoseek import INFOSEEK, normalise_answer
from comem_core.evaluation.metrics.totals import HARMONIC
from comem_core.knowledge.items import Question
from comem_core.worlds.countries import world


def read(part: str, folder: Path | None) -> Iterator[Question]:
    """Yield the questions of a part ("dev" or "test"). Raises ValueError for any other."""
    if part not in world.PARTS:
        raise ValueError(f"{world.BENCHMARK} has no part {part!r}; allowed are {', '.join(world.PARTS)}")
    for question in world.load_benchmark_questions(part):
        # With an alias that normalises to nothing, an empty answer would be right.
        assert question.question_type == "numerical" or all(map(normalise_answer, question.answers)), question
        yield question


def read_seeds(folder: Path | None) -> Iterator[Question]:
    """Yield the questions about train countries that no part of the benchmark asks."""
    yield from world.load_seed_questions()


@cache
def read_held_out() -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """Return the countries of dev and test, and the facts of train countries that dev or test ask for."""
    questions = [question for part in world.PARTS for question in world.load_benchmark_questions(part)]
    unseen_entity = frozenset(question.entity_id or "" for question in questions if question.split == "unseen_entity")
    pairs = frozenset((question.entity_id or "", question.attribute or "") for question in questions)
    return unseen_entity, pairs


BENCHMARK = Benchmark(
    name=world.BENCHMARK,
    source=world.ITEM_SOURCE,
    licence=world.ITEM_LICENCE,
    parts=world.PARTS,
    tuning_part="dev",
    read=read,
    revision=lambda part, folder: world.name_revision(),
    metrics=lambda folder: (INFOSEEK,),
    total=HARMONIC,
    cluster_by="entity_id",  # a country has up to three drawings, but one item answers the questions about all of them
    names_items=True,
    seeds=read_seeds,
    held_out=read_held_out,
)
