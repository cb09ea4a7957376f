"""Variants of a recipe's size: the paper's Table 6 (vectors per item) and Table 12 (samples, parameters).

A variant changes only what its name says. An encoder of another shape cannot start from a shipped encoder: it starts
from random weights, as in the paper, or from a given encoder of its shape.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, get_args

from comem_core.backbone.finding import is_same_model
from comem_core.memory.recipe import SHAPE
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
"""`vectors` is a number; `samples` and `parameters` are factors of the recipe's own."""


def vary_recipe(recipe: Recipe, variant: str) -> Recipe:
    """Return the recipe with one size changed, and the variant in its name.

    Raises:
        ValueError: the variant is unknown; the message lists the known ones.
    """
    if variant not in get_args(Variant):
        raise ValueError(f"unknown variant {variant!r}; expected one of {', '.join(get_args(Variant))}")
    what, _, size = variant.partition("=")
    changed = _CHANGES[what](recipe, float(size))
    return replace(changed, name=f"{recipe.name}+{variant}")


def _with_vectors(recipe: Recipe, number: float) -> Recipe:
    return _with_shape(recipe, num_vectors=int(number))


def _with_parameters(recipe: Recipe, factor: float) -> Recipe:
    """Scale the LoRA's rank and the Q-Former's rounds, as in the paper. The rounds share their weights, so only the
    rank changes what is stored. The LoRA's scale (alpha over rank) stays."""
    encoder = recipe.training.encoder
    return _with_shape(
        recipe,
        lora_rank=_scale(encoder.lora_rank, factor),
        lora_alpha=_scale(encoder.lora_alpha, factor),
        num_rounds=_scale(encoder.num_rounds, factor),
    )


def _with_samples(recipe: Recipe, factor: float) -> Recipe:
    """Scale the questions and the steps together, so that the number of epochs stays. If there are fewer seed questions
    than wanted, all are taken."""
    optimizer = recipe.training.optimizer
    steps = replace(optimizer, num_steps=_scale(optimizer.num_steps, factor))
    return replace(
        recipe,
        synthesis=_scale_questions(recipe.synthesis, factor),
        own_synthesis=recipe.own_synthesis and _scale_questions(recipe.own_synthesis, factor),
        training=replace(recipe.training, optimizer=steps),
    )


def _scale_questions(synthesis: SynthesisRecipe, factor: float) -> SynthesisRecipe:
    asked = synthesis.num_asked_items
    return replace(
        synthesis,
        num_seed_questions=_scale(synthesis.num_seed_questions, factor),
        num_asked_items=_scale(asked, factor) if asked else 0,
    )


def _with_shape(recipe: Recipe, **shape: int) -> Recipe:
    """Return the recipe with an encoder of another shape; `start` is dropped if it no longer fits."""
    encoder = replace(recipe.training.encoder, **shape)
    return fit_start(replace(recipe, training=replace(recipe.training, encoder=encoder)), recipe)


def fit_start(changed: Recipe, base: Recipe) -> Recipe:
    """Drop the encoder that training starts from, if it is the base's and the changed recipe trains another shape of
    encoder, on other weights or on weights that are held in another way. Training then starts from random weights."""
    training, before = changed.training, base.training
    if training.start is None or training.start != before.start:
        return changed
    is_same_shape = all(getattr(training.encoder, each) == getattr(before.encoder, each) for each in SHAPE)
    is_held_alike = replace(changed.backbone, name=base.backbone.name) == base.backbone
    if is_same_shape and is_held_alike and is_same_model(changed.backbone.name, base.backbone.name):
        return changed
    return replace(changed, training=replace(training, start=None))


def _scale(number: int, factor: float) -> int:
    return max(1, round(number * factor))


_CHANGES: Mapping[str, Callable[[Recipe, float], Recipe]] = {
    "vectors": _with_vectors,
    "samples": _with_samples,
    "parameters": _with_parameters,
}
