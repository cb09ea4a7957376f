"""How often an embedder finds a picture's item: the ranks are those of comparing every picture with every other."""

from collections.abc import Sequence

import numpy as np
import pytest

from comem_core.backbone.images import decode
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.measures.retrieval.__main__ import WORLDS, SearchedWorld, find_ranks

NUM_QUESTIONS = 30


class MeanColours(Embedder):
    """Embeds a picture as the mean colours of its quarters; small, and good enough to find some flags."""

    name, width = "colours", 12

    def embed_images(self, images: Sequence[bytes]) -> np.ndarray:
        return np.stack([np.asarray(decode(each).resize((2, 2)), np.float32).ravel() / 255 - 0.5 for each in images])


@pytest.mark.parametrize("name", WORLDS)
def test_ranks_are_those_of_every_picture_compared(name: str) -> None:
    world = WORLDS[name]()
    world = SearchedWorld(
        items=world.items, questions=world.questions[:NUM_QUESTIONS], same_language=world.same_language
    )
    embedder, asked = MeanColours(), [question.image for question in world.questions]
    ranks = find_ranks(world, embedder, asked)
    items_NE, asked_QE = (
        found / np.linalg.norm(found, axis=1, keepdims=True)
        for found in (embedder.embed_images([item.picture for item in world.items]), embedder.embed_images(asked))
    )
    for question, rank, scores_N in zip(world.questions, ranks, asked_QE @ items_NE.T, strict=True):
        among = [
            (score, item)
            for score, item in zip(scores_N, world.items, strict=True)
            if not world.same_language or item.language == question.language
        ]
        [right] = [score for score, item in among if item.item_id == question.gold_item_id]
        num_better, num_as_good = (sum(score > right + by for score, _ in among) for by in (1e-6, -1e-6))
        assert num_as_good > 10 if rank is None else num_better < rank <= num_as_good  # itself is as good
    assert any(ranks) and len(set(ranks)) > 2
