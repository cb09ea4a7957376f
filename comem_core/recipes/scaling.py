"""A recipe with one thing of another size: the paper's Table 6 (vectors an item) and Table 12 (samples, parameters).

What a variant leaves alone stays as it is, so that two of them differ in what their name says. One of another shape
cannot start from a shipped encoder: it starts from random weights, as the paper does, or from a given one of its shape.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, get_args

from comem_core.recipes.recipe import Recipe, SynthesisRecipe

Variant = Literal[
    "vectors=4",
    "vectors=8",
    "vectors=16",
    "vectors=24",
    "samples=0.25",
    "samples=0.5",
    "samples=2",
    "samples=4",
    "parameters=0.25",
    "parameters=0.5",
    "parameters=2",
    "parameters=4",
]
"""Vectors are a number; samples and parameters are times what the recipe has."""


def vary_recipe(recipe: Recipe, variant: str) -> Recipe:
    """Return the recipe with one thing of another size, and the variant in its name.

    Raises:
        ValueError: an unknown variant; the known ones are named.
    """
    if variant not in get_args(Variant):
        raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(get_args(Variant))}")
    what, _, size = variant.partition("=")
    changed = _CHANGES[what](recipe, float(size))
    return replace(changed, name=f"{recipe.name}+{variant}")


def _with_vectors(recipe: Recipe, number: float) -> Recipe:
    return _shaped(recipe, num_vectors=int(number))


def _with_parameters(recipe: Recipe, factor: float) -> Recipe:
    """LoRA rank and rounds of the Q-Former, as in the paper; its rounds share their weights, so that only the rank
    changes what is stored. The LoRA's scale (alpha over rank) stays."""
    encoder = recipe.training.encoder
    return _shaped(
        recipe,
        lora_rank=_times(encoder.lora_rank, factor),
        lora_alpha=_times(encoder.lora_alpha, factor),
        num_rounds=_times(encoder.num_rounds, factor),
    )


def _with_samples(recipe: Recipe, factor: float) -> Recipe:
    """More or fewer questions, and steps with them, so that an epoch stays one. There may be fewer seed questions than
    are asked for: then all are taken."""
    optimizer = recipe.training.optimizer
    steps = replace(optimizer, num_steps=_times(optimizer.num_steps, factor))
    return replace(
        recipe,
        synthesis=_asking(recipe.synthesis, factor),
        own_synthesis=recipe.own_synthesis and _asking(recipe.own_synthesis, factor),
        training=replace(recipe.training, optimizer=steps),
    )


def _asking(synthesis: SynthesisRecipe, factor: float) -> SynthesisRecipe:
    asked = synthesis.num_asked_items
    return replace(
        synthesis,
        num_seed_questions=_times(synthesis.num_seed_questions, factor),
        num_asked_items=_times(asked, factor) if asked else 0,
    )


def _shaped(recipe: Recipe, **shape: int) -> Recipe:
    """The recipe with an encoder of another shape; without its start where that no longer fits."""
    encoder = replace(recipe.training.encoder, **shape)
    start = recipe.training.start if encoder == recipe.training.encoder else None
    return replace(recipe, training=replace(recipe.training, encoder=encoder, start=start))


def _times(number: int, factor: float) -> int:
    return max(1, round(number * factor))


_CHANGES: Mapping[str, Callable[[Recipe, float], Recipe]] = {
    "vectors": _with_vectors,
    "samples": _with_samples,
    "parameters": _with_parameters,
}
