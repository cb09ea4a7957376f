"""Recipes by name: whole, frozen, of plain values, and cut to size by a limit."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, asdict, fields, is_dataclass, replace
from typing import Any

import pytest

from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import CONDITIONS
from comem_core.pretraining.base_recipe import PretrainingRecipe
from comem_core.prompts import read_prompt_set
from comem_core.recipes import RECIPES, find_recipe, with_evaluation, with_knowledge
from comem_core.recipes.recipe import BackboneRecipe, Recipe
from comem_core.synthesis.seeds import find_source


def parts_of(recipe: Any) -> Iterator[Any]:
    """Yield a recipe and every recipe inside it."""
    yield recipe
    for each in fields(recipe):
        value = getattr(recipe, each.name)
        for part in value if isinstance(value, tuple) else (value,):
            if is_dataclass(part):
                yield from parts_of(part)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_has_the_name_that_it_is_asked_for_by(name: str):
    assert find_recipe(name).name == name
    assert find_recipe(name.replace("_", "-")) == find_recipe(name)


@pytest.mark.parametrize("recipe", [*(make() for make in RECIPES.values()), PretrainingRecipe()])
def test_a_recipe_is_frozen_all_the_way_down_and_can_be_hashed(recipe: Any):
    parts = list(parts_of(recipe))
    assert len(parts) > 2
    for part in parts:
        name = fields(part)[0].name
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, None)
    assert len({recipe, replace(recipe)}) == 1


@pytest.mark.parametrize("recipe", [*(make() for make in RECIPES.values()), PretrainingRecipe()])
def test_a_recipe_holds_plain_values_only(recipe: Any):
    def check(value: object) -> None:
        if isinstance(value, dict):
            for inner in value.values():
                check(inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                check(inner)
        else:
            assert value is None or type(value) in (str, int, float, bool), value

    check(asdict(recipe))


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_names_exists(name: str):
    recipe = find_recipe(name)
    benchmark = find_benchmark(recipe.evaluation.benchmark)
    assert recipe.evaluation.part in (None, *benchmark.parts)
    assert set(recipe.evaluation.conditions) <= set(CONDITIONS)
    for seeds in recipe.synthesis.seeds:
        find_source(seeds)
    for prompts in (recipe.synthesis.prompts, recipe.evaluation.prompts, recipe.training.encoder.prompts):
        read_prompt_set(prompts)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown recipe 'huge'; expected one of .*tiny_cpu"):
        find_recipe("huge")


def test_a_limit_caps_what_costs_time_and_nothing_else():
    whole, limited = find_recipe("tiny_cpu"), find_recipe("tiny_cpu", limit=20)
    assert limited.synthesis.num_seed_questions == limited.evaluation.num_questions == 20
    assert limited.training.optimizer.num_steps == 20
    assert limited.evaluation.held_out.num_questions == 20
    assert limited.synthesis.num_asked_items < 20
    uncapped = replace(
        limited,
        synthesis=replace(
            limited.synthesis,
            num_seed_questions=whole.synthesis.num_seed_questions,
            num_asked_items=whole.synthesis.num_asked_items,
        ),
        training=replace(
            limited.training,
            optimizer=replace(limited.training.optimizer, num_steps=whole.training.optimizer.num_steps),
        ),
        evaluation=replace(
            limited.evaluation, num_questions=whole.evaluation.num_questions, held_out=whole.evaluation.held_out
        ),
    )
    assert uncapped == whole


def test_a_limit_beyond_the_recipe_changes_nothing():
    assert find_recipe("tiny_cpu", limit=10**9) == find_recipe("tiny_cpu")


def test_a_seed_is_the_trainings_and_changes_nothing_else():
    plain, seeded = find_recipe("tiny_cpu"), find_recipe("tiny_cpu", seed=3)
    assert (seeded.training.encoder.seed, seeded.training.optimizer.seed) == (3, 3)
    assert find_recipe("tiny_cpu", seed=0) == plain
    assert replace(seeded, training=plain.training) == plain
    assert find_recipe("tiny_cpu", seed=3, limit=20).training.optimizer.seed == 3


@pytest.mark.parametrize("name", RECIPES)
def test_the_smallest_limit_leaves_a_corpus_of_one_s_own_something_to_train_on_and_something_to_score(name: str):
    for limit in (1, 7, 15):
        limited = with_knowledge(find_recipe(name, limit=limit), "docs")
        assert limited.synthesis.seeds == () and limited.synthesis.num_asked_items == 2
    told = with_knowledge(find_recipe(name, limit=1), "docs", writing={"num_asked_items": 1})
    assert told.synthesis.num_asked_items == 1


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit: int):
    with pytest.raises(ValueError, match=f"limit is {limit}; expected at least 1 question"):
        find_recipe("tiny_cpu", limit=limit)


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("comem_qwen25_vl_7b", "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("comem_qwen2_vl_7b", "Qwen/Qwen2-VL-7B-Instruct"),
    ],
)
def test_the_papers_recipes_are_the_papers(name: str, backbone: str):
    recipe = find_recipe(name)
    encoder, optimizer = recipe.training.encoder, recipe.training.optimizer
    assert recipe.backbone == BackboneRecipe(family="qwen_vl", name=backbone, dtype="bfloat16")
    assert (encoder.lora_rank, encoder.lora_alpha, encoder.lora_dropout) == (16, 32, 0.05)
    assert (encoder.num_vectors, encoder.num_rounds, encoder.num_heads) == (8, 8, 16)
    assert not (encoder.match_embedding_norm or encoder.copying_start or recipe.training.start)
    assert encoder.item_visual_tokens == VisualTokens(min=16, max=64)
    assert (recipe.synthesis.k, recipe.training.items_per_sample, recipe.evaluation.k) == (3, 3, 10)
    assert recipe.retrieval.k >= recipe.evaluation.k
    assert (optimizer.learning_rate, optimizer.weight_decay, optimizer.betas) == (5e-5, 0.1, (0.9, 0.999))
    assert (optimizer.warmup_ratio, optimizer.gradient_clip) == (0.03, 3.0)
    assert optimizer.num_steps * optimizer.batch_size == 15_600


@pytest.mark.parametrize("name", RECIPES)
def test_no_part_of_a_recipe_asks_for_more_items_than_are_retrieved(name: str):
    recipe = find_recipe(name)
    assert recipe.training.items_per_sample <= recipe.synthesis.k <= recipe.retrieval.k
    assert recipe.evaluation.k <= recipe.retrieval.k


def test_a_number_of_items_is_given_or_chosen():
    recipe = find_recipe("tiny_cpu")
    chosen = with_evaluation(recipe, "countries-vqa", k_among=[1, 10])
    assert (chosen.evaluation.held_out.k_among, chosen.retrieval.k) == ((1, 10), 10)
    assert with_evaluation(chosen, "countries-vqa", k=[2]).evaluation.held_out.k_among == ()
    assert with_evaluation(chosen, "countries-vqa").evaluation == chosen.evaluation
    with pytest.raises(ValueError, match=r"k is \[2\] and k_among is \[1\]; give the numbers, or let one be chosen"):
        with_evaluation(recipe, "countries-vqa", k=[2], k_among=[1])
    with pytest.raises(ValueError, match=r"k_among is \[1, 0\]; expected numbers of items, each at least 1"):
        with_evaluation(recipe, "countries-vqa", k_among=[1, 0])
    with pytest.raises(ValueError, match="by the answers under memory or text; found conditions none, empty"):
        with_evaluation(recipe, "countries-vqa", conditions=["none", "empty"], k_among=[1])


def test_the_defaults_are_the_papers():
    recipe = Recipe(name="paper")
    encoder = recipe.training.encoder
    assert (encoder.lora_rank, encoder.lora_alpha, encoder.lora_dropout) == (16, 32, 0.05)
    assert (encoder.num_vectors, encoder.num_rounds, encoder.num_heads) == (8, 8, 16)
    assert recipe.retrieval.k == recipe.training.items_per_sample == 3
    assert recipe.training.optimizer.batch_size == 16


def test_on_another_corpus_the_vlm_asks_and_a_part_of_what_is_kept_is_the_benchmark():
    recipe = with_knowledge(find_recipe("comem_qwen25_vl_7b"), "docs", reading={"licence": "MIT", "language": None})
    assert (recipe.knowledge.corpus, recipe.knowledge.licence, recipe.knowledge.language) == ("docs", "MIT", None)
    assert (recipe.synthesis.seeds, recipe.synthesis.prompts) == ((), "reason")
    assert recipe.filters.held_out_share == 0.1 and recipe.filters.max_without_score == 1.0
    assert recipe.evaluation.benchmark == "own"


def test_without_another_corpus_only_what_is_said_changes():
    recipe = find_recipe("tiny_cpu")
    assert with_knowledge(recipe, None, reading={"allow_urls": False}, writing={"seeds": None}) == recipe
    asked = with_knowledge(recipe, None, writing={"num_asked_items": 7})
    assert asked.synthesis == replace(recipe.synthesis, num_asked_items=7)


@pytest.mark.parametrize("name", RECIPES)
def test_a_limit_caps_what_is_asked_about_another_corpus_too(name: str):
    limited = with_knowledge(find_recipe(name, limit=16), "docs")
    assert limited.synthesis.num_asked_items <= 2
