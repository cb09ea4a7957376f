"""Variants of a recipe: what changes, what stays, and what an encoder of another shape starts from."""

from dataclasses import replace
from typing import get_args

import pytest

from comem_core.recipes import find_recipe
from comem_core.recipes.scaling import Variant, vary_recipe


@pytest.mark.parametrize("name", ["tiny_cpu", "comem_qwen25_vl_7b"])
@pytest.mark.parametrize("variant", get_args(Variant))
def test_every_variant_is_another_recipe_in_name_and_in_what_the_name_says(name: str, variant: str):
    recipe = find_recipe(name)
    made = find_recipe(name, variant=variant)
    assert made.name == f"{name}+{variant}"
    same = replace(made, name=name) == recipe
    assert same == (variant == f"vectors={recipe.training.encoder.num_vectors}")


def test_parameters_are_the_papers_rank_and_rounds_at_the_same_scale():
    encoder = find_recipe("comem_qwen25_vl_7b", variant="parameters=0.25").training.encoder
    assert (encoder.lora_rank, encoder.lora_alpha, encoder.num_rounds, encoder.num_vectors) == (4, 8, 2, 8)
    encoder = find_recipe("comem_qwen25_vl_7b", variant="parameters=4").training.encoder
    assert (encoder.lora_rank, encoder.lora_alpha, encoder.num_rounds, encoder.num_vectors) == (64, 128, 32, 8)


def test_samples_take_their_steps_along_and_a_limit_still_caps_both():
    recipe = find_recipe("comem_qwen25_vl_7b", variant="samples=2")
    assert recipe.synthesis.num_seed_questions == 31_200 and recipe.training.optimizer.num_steps == 1950
    assert recipe.own_synthesis and recipe.own_synthesis.num_asked_items == 3900
    limited = find_recipe("comem_qwen25_vl_7b", variant="samples=2", limit=24)
    assert limited.synthesis.num_seed_questions == limited.training.optimizer.num_steps == 24
    assert find_recipe("smol_cpu", variant="samples=4").synthesis.num_asked_items == 0


def test_only_an_encoder_of_the_same_shape_keeps_its_start():
    start = find_recipe("tiny_cpu").training.start
    assert start is not None
    assert find_recipe("tiny_cpu", variant="samples=0.5").training.start == start
    assert find_recipe("tiny_cpu", variant="vectors=16").training.start == start
    assert find_recipe("tiny_cpu", variant="vectors=8").training.start is None
    assert find_recipe("tiny_cpu", variant="parameters=2").training.start is None


def test_an_unknown_variant_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown variant 'vectors=5'; expected one of vectors=4, vectors=8"):
        vary_recipe(find_recipe("tiny_cpu"), "vectors=5")
