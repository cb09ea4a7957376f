"""`python -m comem_core.measures.retrieval`: how often embedders find the right item by another artist's picture.

The questions are those of the part `test` of both worlds that ship; countries are searched among items in the
question's language, emoji among all, for each has one item. `augmented` asks with the item's own picture instead,
changed as `compare-retrieval` changes those of a corpus. Needs `make embedders`. Rows go to
`docs/results/retrieval.json`: recall in percent, with 95 % intervals by country or emoji.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from comem_core.backbone.loading import load_backbone
from comem_core.evaluation.held_out.searches import Ranks, find_rank, mark_found
from comem_core.evaluation.statistics import score_interval
from comem_core.knowledge.augmenting import augment_picture
from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.registry import load_embedder
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.measures.results import Measured
from comem_core.measures.tables import describe_rows, record_rows
from comem_core.recipes import find_recipe
from comem_core.worlds.countries import world as countries
from comem_core.worlds.emoji import world as emoji

TOPIC, COMMAND, PART = "retrieval", "python -m comem_core.measures.retrieval", "test"
NUMBERS, AUGMENTED_AT, AT_ONCE = (1, 3, 10), 3, 64


@dataclass(frozen=True, kw_only=True)
class SearchedWorld:
    """Items and questions that ship, and whether a question is answered from an item in its own language."""

    items: Sequence[KnowledgeItem]
    questions: Sequence[Question]
    same_language: bool


WORLDS: Mapping[str, Callable[[], SearchedWorld]] = {
    "countries": lambda: SearchedWorld(
        items=countries.load_knowledge_items(),
        questions=countries.load_benchmark_questions(PART),
        same_language=True,
    ),
    "emoji": lambda: SearchedWorld(
        items=emoji.load_knowledge_items(), questions=emoji.load_benchmark_questions(PART), same_language=False
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and replace the stored rows of the same measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args(arguments).threads)
    rows = list(measure_worlds())
    print(*describe_rows(rows), sep="\n")
    record_rows(TOPIC, rows)


def measure_worlds() -> Iterator[Measured]:
    """Yield the rows of both worlds and both embedders."""
    recipe = find_recipe("tiny_cpu")
    embedders: dict[str, Embedder] = {
        "backbone": BackboneEmbedder(
            load_backbone(recipe.backbone.name),
            grid=recipe.retrieval.grid,
            visual_tokens=recipe.training.encoder.item_visual_tokens,
        ),
        "efficientnet": load_embedder("efficientnet-lite0"),
    }
    for world_name, load in WORLDS.items():
        world = load()
        pictures = {item.item_id: item.picture for item in world.items}
        own = [augment_picture(pictures[each.gold_item_id or ""], each.question_id) for each in world.questions]
        for name, embedder in embedders.items():
            ranks = find_ranks(world, embedder, [question.image for question in world.questions])
            for k in NUMBERS:
                yield _make_row(f"found_{k}_{world_name}_{name}", world, ranks, k)
            ranks = find_ranks(world, embedder, own)
            yield _make_row(f"found_{AUGMENTED_AT}_{world_name}_{name}_augmented", world, ranks, AUGMENTED_AT)


def find_ranks(world: SearchedWorld, embedder: Embedder, asked: Sequence[bytes]) -> Ranks:
    """Return the rank of the right item of each question when it is asked with these pictures."""
    shown = [item.picture for item in world.items]
    found = _embed_once(embedder, [*shown, *asked])
    index = VectorIndex(
        np.stack([found[each] for each in shown]),
        item_ids=[item.item_id for item in world.items],
        languages=[item.language for item in world.items],
    )
    languages = [question.language for question in world.questions] if world.same_language else None
    hits = index.search(np.stack([found[each] for each in asked]), k=max(NUMBERS), languages=languages)
    return [
        find_rank(hit.item_ids, {question.gold_item_id or ""})
        for question, hit in zip(world.questions, hits, strict=True)
    ]


def _embed_once(embedder: Embedder, pictures: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    different, found = list(dict.fromkeys(pictures)), {}
    for start in range(0, len(different), AT_ONCE):
        batch = different[start : start + AT_ONCE]
        found |= dict(zip(batch, embedder.embed_images(batch), strict=True))
    return found


def _make_row(measure: str, world: SearchedWorld, ranks: Ranks, k: int) -> Measured:
    clusters = [question.entity_id or "" for question in world.questions]
    found = score_interval(mark_found(ranks, k), clusters)
    value, low, high = (None if each is None else round(100 * each, 2) for each in (found.value, found.low, found.high))
    assert value is not None
    return Measured(
        measure=measure,
        recipe="tiny_cpu",
        value=value,
        low=low,
        high=high,
        unit="%",
        n=found.n,
        command=COMMAND,
    )


if __name__ == "__main__":
    main()
