"""Checks that everything exists that a recipe names: models, corpora, benchmarks, prompts, sources, encoders."""

from collections.abc import Callable, Iterator
from typing import Any

from comem_core.backbone.finding import check_backbone_name, find_width, refuse_other_family
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.llm_judge import read_judge_prompts
from comem_core.knowledge.corpora import check_corpus
from comem_core.knowledge.corpora.columns import check_columns
from comem_core.knowledge.languages import check_language
from comem_core.memory.description import find_encoder_folder
from comem_core.prompts import read_prompt_set
from comem_core.recipes.conditions import check_conditions, find_condition_to_try
from comem_core.recipes.prompts import check_prompts
from comem_core.recipes.recipe import BackboneRecipe, EvaluationRecipe, Recipe
from comem_core.recipes.retrieval import check_retrieval
from comem_core.synthesis.seeds import check_source

Check = Callable[[Any], object]

FILTERED_TOGETHER = (
    ("near_duplicate_bits", "near_duplicate_similarity"),
    ("min_question_words", "max_question_words"),
    ("contaminated_ngram", "contaminated_share"),
)
"""The fields that one filter uses together (`warehouse/filters`); with one of them alone it would be off in silence."""


def check_names(recipe: Recipe) -> None:
    """Check what a recipe names, without loading a model or asking the hub.

    Raises ValueError that lists every fault, by the name of its field.
    """
    faults = []
    for field, check, value in _list_named(recipe):
        try:
            check(value)
        except ValueError as error:
            faults.append(f"{field}: {error}" if field else str(error))
    if faults:
        raise ValueError("\n    ".join(dict.fromkeys(faults)))


def _list_named(recipe: Recipe) -> Iterator[tuple[str, Check, Any]]:
    asked, knowledge = recipe.evaluation, recipe.knowledge
    yield "backbone", _check_backbone, recipe.backbone
    yield "knowledge.corpus", check_corpus, knowledge.corpus
    yield "knowledge.columns", check_columns, dict(knowledge.columns)
    if knowledge.language is not None:
        yield "knowledge.language", check_language, knowledge.language
    yield from (("synthesis.seeds", check_source, each) for each in recipe.synthesis.seeds)
    yield from (("against", find_benchmark, each) for each in recipe.against)
    yield "evaluation.benchmark", find_benchmark, asked.benchmark
    yield "evaluation.part", _check_part, asked
    yield "evaluation.conditions", _check_filled, asked.conditions
    yield "evaluation.conditions", check_conditions, asked.conditions
    if asked.held_out.k_among:
        yield "evaluation.held_out.k_among", find_condition_to_try, asked.conditions
    yield "evaluation.prompts", read_prompt_set, asked.prompts
    if asked.foreign is not None:
        yield "evaluation.foreign", check_corpus, asked.foreign
    if asked.judge is not None:
        yield "evaluation.judge.prompts", read_judge_prompts, asked.judge.prompts
    if recipe.training.start is not None:
        yield "training.start", find_encoder_folder, recipe.training.start
    if recipe.reader is not None:
        yield "reader.name", check_backbone_name, recipe.reader.name
    yield from (("", check, recipe) for check in (_check_pairs, _check_heads, check_retrieval, check_prompts))


def _check_backbone(backbone: BackboneRecipe) -> None:
    check_backbone_name(backbone.name)
    refuse_other_family(backbone.name, backbone.family)


def _check_part(asked: EvaluationRecipe) -> None:
    parts = find_benchmark(asked.benchmark).parts
    if asked.part not in (None, *parts):
        raise ValueError(f"found {asked.part!r}; expected one of {', '.join(parts)}")


def _check_filled(names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError("found none; expected at least one")


def _check_pairs(recipe: Recipe) -> None:
    """Check fields that need each other, or exclude each other."""
    trained, drafted = recipe.training.items_per_sample, recipe.synthesis.k
    if trained > drafted:
        raise ValueError(f"training.items_per_sample is {trained}, but synthesis.k is {drafted}; set it to {trained}")
    if "foreign" in recipe.evaluation.conditions and recipe.evaluation.foreign is None:
        raise ValueError("evaluation: the condition foreign shows items of another corpus; name one as its foreign")
    if recipe.reader is not None and recipe.engine is not None:
        raise ValueError("reader and engine: each answers in the backbone's place; keep one of the two")
    for one, other in FILTERED_TOGETHER:
        if (getattr(recipe.filters, one) is None) != (getattr(recipe.filters, other) is None):
            raise ValueError(f"filters: {one} and {other} need each other; set or unset both")


def _check_heads(recipe: Recipe) -> None:
    """Check that the heads of the Q-Former divide the model's width, where its config.json is here."""
    heads, width = recipe.training.encoder.num_heads, find_width(recipe.backbone.name)
    if width is not None and width % heads:
        raise ValueError(f"training.encoder.num_heads is {heads}, which does not divide the model's width, {width}")
