"""Recipes by name: a run is a function that returns a whole recipe."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from comem_core.recipes.recipe import Recipe
from comem_core.recipes.tiny_cpu import tiny_cpu

RECIPES: Mapping[str, Callable[[], Recipe]] = {"tiny_cpu": tiny_cpu}


def recipe_named(name: str, *, limit: int | None = None) -> Recipe:
    """Return a recipe by name; `limit` caps seed questions and benchmark questions, for a quick look.

    Raises:
        ValueError: an unknown name (the known ones are listed), or a limit below 1.
    """
    known = name.replace("-", "_")
    if known not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; expected one of {', '.join(sorted(RECIPES))}")
    recipe = RECIPES[known]()
    if limit is None:
        return recipe
    if limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1 question, or nothing for all of them")
    seeds = min(limit, recipe.synthesis.num_seed_questions)
    asked = min(limit, recipe.evaluation.num_questions or limit)
    return replace(
        recipe,
        synthesis=replace(recipe.synthesis, num_seed_questions=seeds),
        evaluation=replace(recipe.evaluation, num_questions=asked),
    )
