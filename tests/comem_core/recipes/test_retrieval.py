"""What a recipe says of retrieval is checked without loading anything: each fault is named with what to do."""

from dataclasses import replace
from typing import Any

import pytest

from comem_core.recipes import RECIPES, find_recipe, with_evaluation, with_knowledge
from comem_core.recipes.retrieval import check_retrieval

TINY = find_recipe("tiny_cpu")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_that_ship_can_be_retrieved_for(name: str) -> None:
    recipe = find_recipe(name)
    check_retrieval(recipe)
    check_retrieval(with_knowledge(recipe, "/some/folder"))
    check_retrieval(with_evaluation(recipe, "countries-vqa", k=[3, 10, 50]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"embedder": "resnet"}, "unknown embedder 'resnet'; expected one of backbone, "),
        ({"embedder": "e5"}, "retrieval.embedder is 'e5', which sees no pictures"),
        ({"embedder": "clip:nowhere"}, "no model 'nowhere': it is not a folder with a config.json"),
        ({"by": "both"}, "retrieval.by is 'both', but 'backbone' reads no texts; name a retrieval.text_embedder"),
        ({"by": "both", "text_embedder": "words"}, "unknown embedder 'words'"),
        ({"by": "picture"}, "retrieval.by is 'picture'; expected one of image, text, both"),
        ({"text_embedder": "minilm"}, "but retrieval.by is 'image', which reads no texts"),
        ({"text_weight": 50.0}, r"retrieval.text_weight is 50.0; expected a share from 0"),
        ({"grid": (0, 4)}, r"retrieval.grid is \(0, 4\); expected rows and columns, each at least 1"),
        ({"k": 0}, "retrieval.k is 0; expected a number of items, at least 1"),
        (
            {"k": 2},
            "synthesis.k is 3, but 2 items are retrieved; set retrieval.k to 3 or more",
        ),
    ],
)
def test_what_cannot_work_is_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_retrieval(replace(TINY, retrieval=replace(TINY.retrieval, **changed)))


def test_no_more_items_are_shown_than_are_retrieved() -> None:
    with pytest.raises(ValueError, match=r"evaluation.k is 10, but 3 items are retrieved"):
        check_retrieval(replace(TINY, evaluation=replace(TINY.evaluation, more_k=(10,))))
