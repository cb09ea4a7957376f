"""Finds recipes by name, in files or as fields, and varies them.

Each shipped recipe is a function that returns a complete `Recipe`; a user's own needs no change here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from comem_core.backbone.finding import check_backbone_name, find_family, refuse_other_family
from comem_core.backbone.quantization import Quantization
from comem_core.evaluation.benchmarks.own import NAME as OWN
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.scores import Unanswered
from comem_core.memory.description import Dtype
from comem_core.prompts import read_prompt_set
from comem_core.recipes.comem_7b import comem_qwen2_vl_7b, comem_qwen25_vl_7b
from comem_core.recipes.conditions import check_conditions, find_condition_to_try
from comem_core.recipes.engine import VLLM, EngineRecipe
from comem_core.recipes.files import ENDING, make_own_recipe, read_recipe_file
from comem_core.recipes.recipe import (
    BackboneRecipe,
    EvaluationRecipe,
    JudgeRecipe,
    ReaderRecipe,
    Recipe,
    SynthesisRecipe,
    check_seed,
)
from comem_core.recipes.scaling import fit_start, vary_recipe
from comem_core.recipes.smol_cpu import smol_cpu
from comem_core.recipes.tiny_cpu import tiny_cpu

# The only list of recipes, by the name in each recipe.
RECIPES: Mapping[str, Callable[[], Recipe]] = {
    make().name: make for make in (tiny_cpu, smol_cpu, comem_qwen25_vl_7b, comem_qwen2_vl_7b)
}

# The share of a user's own items that is never trained on, but asked about afterwards.
HELD_OUT_SHARE = 0.1
# Items of a corpus of one's own that are asked about: questions about one are trained on, about another set aside.
LEAST_ASKED = 2


def find_recipe(
    named: str | Mapping[str, Any], *, limit: int | None = None, seed: int | None = None, variant: str | None = None
) -> Recipe:
    """Return a recipe by name, from a TOML file or from fields (`recipes.files`), and vary it.

    `seed` is the training's, and `variant` changes one size (`recipes.scaling`). `limit` caps seed questions, asked
    items, translated samples, training steps and benchmark questions.

    Raises:
        ValueError: an unknown name or variant (the message lists the known ones), a file or fields with faults, a limit
            below 1, or a seed outside the range of `check_seed`.
    """
    recipe = _make_recipe(named)
    if seed is not None:
        check_seed(seed)
        recipe = _with_seed(recipe, seed)
    recipe = recipe if variant is None else vary_recipe(recipe, variant)
    if limit is None:
        return recipe
    if limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1 question, or nothing for all of them")
    synthesis, training, evaluation = recipe.synthesis, recipe.training, recipe.evaluation
    steps = min(limit, training.optimizer.num_steps)
    return replace(
        recipe,
        synthesis=_limit_synthesis(synthesis, limit),
        own_synthesis=recipe.own_synthesis and _limit_synthesis(recipe.own_synthesis, limit),
        training=replace(training, optimizer=replace(training.optimizer, num_steps=steps)),
        evaluation=_limit_evaluation(evaluation, limit),
    )


def _make_recipe(named: str | Mapping[str, Any]) -> Recipe:
    if isinstance(named, Mapping):
        return make_own_recipe(named, RECIPES)
    if named.lower().endswith(ENDING):
        return make_own_recipe(read_recipe_file(named), RECIPES, where=named)
    known = named.replace("-", "_")
    if known not in RECIPES:
        raise ValueError(
            f"unknown recipe {named!r}; expected one of {', '.join(sorted(RECIPES))}, or a recipe file ({ENDING})"
        )
    return RECIPES[known]()


def _limit_synthesis(synthesis: SynthesisRecipe, limit: int) -> SynthesisRecipe:
    return replace(
        synthesis,
        num_seed_questions=min(limit, synthesis.num_seed_questions),
        num_asked_items=min(max(1, limit // 8), synthesis.num_asked_items),
        num_translated=min(limit // 8, synthesis.num_translated),
    )


def _limit_evaluation(evaluation: EvaluationRecipe, limit: int) -> EvaluationRecipe:
    held_out = replace(evaluation.held_out, num_questions=min(limit, evaluation.held_out.num_questions))
    return replace(evaluation, num_questions=min(limit, evaluation.num_questions or limit), held_out=held_out)


def with_knowledge(
    recipe: Recipe,
    corpus: str | None,
    *,
    reading: Mapping[str, Any] | None = None,
    writing: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return the recipe with other knowledge and synthesis settings; those that are None stay as they are.

    With another `corpus`, the VLM asks about the corpus's items, only what it cannot answer without them is kept, and a
    part of that becomes the benchmark. `reading` and `writing` are fields of KnowledgeRecipe and SynthesisRecipe.

    Raises ValueError for a number of items or samples that is too small.
    """
    reading, writing = (
        {name: value for name, value in (given or {}).items() if value is not None} for given in (reading, writing)
    )
    if "seeds" in writing:
        writing["seeds"] = tuple(writing["seeds"])
    for name, least in (("num_asked_items", 0), ("max_samples", 1)):
        if writing.get(name, least) < least:
            raise ValueError(f"{name} is {writing[name]}; expected {least} or more")
    if corpus is not None:
        reading["corpus"] = corpus
        writing = {"seeds": ()} | writing
        own = recipe.own_synthesis or recipe.synthesis
        recipe = replace(
            recipe,
            synthesis=replace(own, num_asked_items=max(LEAST_ASKED, own.num_asked_items)),
            filters=replace(recipe.filters, held_out_share=HELD_OUT_SHARE, max_without_score=1.0),
            evaluation=replace(recipe.evaluation, benchmark=OWN),
        )
    return replace(
        recipe,
        knowledge=replace(recipe.knowledge, **reading),
        synthesis=replace(recipe.synthesis, **writing),
    )


def with_evaluation(
    recipe: Recipe,
    benchmark: str,
    *,
    conditions: Sequence[str] | None = None,
    k: Sequence[int] | None = None,
    k_among: Sequence[int] | None = None,
    unanswered: Unanswered | None = None,
    foreign: str | None = None,
    prompts: str | None = None,
) -> Recipe:
    """Return the recipe with another benchmark, and other conditions or numbers of items; what is None stays.

    With `k`, the numbers are given. With `k_among`, one of these is chosen on held-out questions.

    Raises:
        ValueError: an unknown benchmark, condition or prompt set (the message lists the known ones), no condition, a
            number of items below 1, numbers that are given and chosen, no condition to choose one by, or the condition
            `foreign` without a corpus to show.
    """
    asked = recipe.evaluation
    find_benchmark(benchmark)
    if prompts is not None:
        read_prompt_set(prompts)
    if conditions is not None and not conditions:
        raise ValueError("conditions are empty; name at least one, or leave them out for the recipe's")
    check_conditions(conditions or ())
    for name, numbers in (("k", k), ("k_among", k_among)):
        if numbers is not None and (not numbers or min(numbers) < 1):
            raise ValueError(f"{name} is {list(numbers)}; expected numbers of items, each at least 1")
    if k is not None and k_among is not None:
        raise ValueError(f"k is {list(k)} and k_among is {list(k_among)}; give the numbers, or let one be chosen")
    if "foreign" in (conditions or ()) and not (foreign or asked.foreign):
        raise ValueError("the condition foreign shows items of another corpus: name one (foreign=...)")
    among = asked.held_out.k_among if k_among is None else tuple(k_among)
    asked = replace(
        asked,
        benchmark=benchmark,
        part=asked.part if benchmark == asked.benchmark else None,
        conditions=asked.conditions if conditions is None else tuple(conditions),
        k=k[0] if k else asked.k,
        more_k=tuple(k[1:]) if k else asked.more_k,
        unanswered=asked.unanswered if unanswered is None else unanswered,
        foreign=asked.foreign if foreign is None else foreign,
        prompts=asked.prompts if prompts is None else prompts,
        held_out=replace(asked.held_out, k_among=among if k is None else ()),
    )
    if asked.held_out.k_among:
        find_condition_to_try(asked.conditions)
    retrieval = replace(recipe.retrieval, k=max(recipe.retrieval.k, *asked.all_k, *asked.held_out.k_among))
    return replace(recipe, evaluation=asked, retrieval=retrieval)


def with_judge(recipe: Recipe, judge: str | JudgeRecipe | None) -> Recipe:
    """Return the recipe with a language model that also judges every answer; with None, the recipe is unchanged.

    Raises ValueError for a judge without a name.
    """
    if judge is None:
        return recipe
    asked = JudgeRecipe(generator=judge) if isinstance(judge, str) else judge
    return replace(recipe, evaluation=replace(recipe.evaluation, judge=asked))


def with_backbone(
    recipe: Recipe,
    *,
    name: str | None = None,
    family: str | None = None,
    dtype: Dtype | None = None,
    quantization: Quantization | None = None,
) -> Recipe:
    """Return the recipe with another backbone, and the backbone in its name; what is None stays.

    The family of a model that is on this machine is read from its config.json. An encoder that training would start
    from is dropped if it was made for other weights, or for weights that were held in another way.

    Raises ValueError for a name that no model can have, and a model of another family or of none that is known.
    """
    before = recipe.backbone
    if name is not None:
        check_backbone_name(name)
        family = family or find_family(name)
    if family is not None:
        refuse_other_family(name or before.name, family)
    backbone = BackboneRecipe(
        name=name or before.name,
        family=family or before.family,
        dtype=before.dtype if dtype is None else dtype,
        quantization=before.quantization if quantization is None else quantization,
    )
    if backbone == before:
        return recipe
    label = [] if name in (None, before.name) else [PurePath(name).name if PurePath(name).is_absolute() else name]
    label += [] if backbone.dtype == before.dtype else [backbone.dtype]
    label += [] if backbone.quantization == before.quantization else [backbone.quantization]
    changed = replace(recipe, backbone=backbone, name=f"{recipe.name}+backbone={','.join(label) or backbone.family}")
    return fit_start(changed, recipe)


def with_reader(recipe: Recipe, reader: str | ReaderRecipe | None) -> Recipe:
    """Return the recipe with a text-only reader or, as `vllm:<address>`, an engine that runs the backbone, and what
    reads in its name; None keeps the recipe as it is.

    Raises ValueError for an engine without an address, or with settings of a text-only reader.
    """
    if reader is None:
        return recipe
    reader = ReaderRecipe(name=reader) if isinstance(reader, str) else reader
    engine, colon, url = reader.name.partition(":")
    if (engine, colon) != (VLLM, ":"):
        return replace(recipe, reader=reader, name=f"{recipe.name}+reader={reader.label}")
    if reader != ReaderRecipe(name=reader.name):
        raise ValueError(f"{reader.name} is the backbone itself, so the settings of a text-only reader have no effect")
    return replace(recipe, engine=EngineRecipe(url=url), name=f"{recipe.name}+reader={engine}")


def _with_seed(recipe: Recipe, seed: int) -> Recipe:
    """Return the recipe with this seed for initial weights and the order of samples."""
    training = recipe.training
    seeded = replace(
        training, encoder=replace(training.encoder, seed=seed), optimizer=replace(training.optimizer, seed=seed)
    )
    return replace(recipe, training=seeded)
