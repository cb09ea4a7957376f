"""Checks that everything exists that a recipe names: models, corpora, benchmarks, prompts, sources, encoders."""

from collections.abc import Callable, Iterator
from typing import Any

from comem_core.backbone.finding import check_backbone_name, refuse_other_family
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import find_condition
from comem_core.evaluation.llm_judge import read_judge_prompts
from comem_core.knowledge.corpora import check_corpus
from comem_core.memory.description import find_encoder_folder
from comem_core.prompts import read_prompt_set
from comem_core.recipes.prompts import check_prompts
from comem_core.recipes.recipe import BackboneRecipe, Recipe
from comem_core.recipes.retrieval import check_retrieval
from comem_core.synthesis.seeds import check_source

Check = Callable[[Any], object]


def check_names(recipe: Recipe) -> None:
    """Check what a recipe names, without loading a model or asking the hub.

    Raises ValueError that lists every fault, by the name of its field.
    """
    faults = []
    for field, check, value in [*_list_named(recipe), ("", check_retrieval, recipe), ("", check_prompts, recipe)]:
        try:
            check(value)
        except ValueError as error:
            faults.append(f"{field}: {error}" if field else str(error))
    if faults:
        raise ValueError("\n    ".join(dict.fromkeys(faults)))


def _list_named(recipe: Recipe) -> Iterator[tuple[str, Check, Any]]:
    asked = recipe.evaluation
    yield "backbone", _check_backbone, recipe.backbone
    yield "knowledge.corpus", check_corpus, recipe.knowledge.corpus
    yield from (("synthesis.seeds", check_source, each) for each in recipe.synthesis.seeds)
    yield from (("against", find_benchmark, each) for each in recipe.against)
    yield "evaluation.benchmark", find_benchmark, asked.benchmark
    yield "evaluation.conditions", _check_filled, asked.conditions
    yield from (("evaluation.conditions", find_condition, each) for each in asked.conditions)
    yield "evaluation", _check_foreign, recipe
    yield "evaluation.prompts", read_prompt_set, asked.prompts
    if asked.foreign is not None:
        yield "evaluation.foreign", check_corpus, asked.foreign
    if asked.judge is not None:
        yield "evaluation.judge.prompts", read_judge_prompts, asked.judge.prompts
    if recipe.training.start is not None:
        yield "training.start", find_encoder_folder, recipe.training.start
    if recipe.reader is not None:
        yield "reader.name", check_backbone_name, recipe.reader.name


def _check_backbone(backbone: BackboneRecipe) -> None:
    check_backbone_name(backbone.name)
    refuse_other_family(backbone.name, backbone.family)


def _check_filled(names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError("found none; expected at least one")


def _check_foreign(recipe: Recipe) -> None:
    if "foreign" in recipe.evaluation.conditions and recipe.evaluation.foreign is None:
        raise ValueError("the condition foreign shows items of another corpus; name one as evaluation.foreign")
