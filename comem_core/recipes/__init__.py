"""Recipes by name: a run is a function that returns a whole recipe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from comem_core.evaluation.benchmarks.own import NAME as OWN
from comem_core.evaluation.benchmarks.registry import benchmark_named
from comem_core.evaluation.conditions import condition_named
from comem_core.evaluation.llm_judge import Unparsable
from comem_core.evaluation.scores import Unanswered
from comem_core.recipes.comem_7b import comem_qwen2_vl_7b, comem_qwen25_vl_7b
from comem_core.recipes.recipe import JudgeRecipe, ReaderRecipe, Recipe, SynthesisRecipe
from comem_core.recipes.scaling import varied
from comem_core.recipes.smol_cpu import smol_cpu
from comem_core.recipes.tiny_cpu import tiny_cpu
from comem_core.synthesis.prompts import prompt_set

RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "tiny_cpu": tiny_cpu,
    "smol_cpu": smol_cpu,
    "comem_qwen25_vl_7b": comem_qwen25_vl_7b,
    "comem_qwen2_vl_7b": comem_qwen2_vl_7b,
}

# Of a user's own items, so many are never trained on and asked about afterwards.
HELD_OUT_SHARE = 0.1


def recipe_named(name: str, *, limit: int | None = None, seed: int = 0, variant: str | None = None) -> Recipe:
    """Return a recipe by name, its training with a seed, one thing in it of another size (`scaling`); `limit` caps seed
    questions, asked items, translated samples, training steps and benchmark questions.

    Raises:
        ValueError: an unknown name or variant (the known ones are listed), or a limit below 1.
    """
    known = name.replace("-", "_")
    if known not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; expected one of {', '.join(sorted(RECIPES))}")
    recipe = _seeded(RECIPES[known](), seed)
    recipe = recipe if variant is None else varied(recipe, variant)
    if limit is None:
        return recipe
    if limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1 question, or nothing for all of them")
    synthesis, training, evaluation = recipe.synthesis, recipe.training, recipe.evaluation
    steps = min(limit, training.optimizer.num_steps)
    return replace(
        recipe,
        synthesis=_limited(synthesis, limit),
        own_synthesis=recipe.own_synthesis and _limited(recipe.own_synthesis, limit),
        training=replace(training, optimizer=replace(training.optimizer, num_steps=steps)),
        evaluation=replace(evaluation, num_questions=min(limit, evaluation.num_questions or limit)),
    )


def _limited(synthesis: SynthesisRecipe, limit: int) -> SynthesisRecipe:
    return replace(
        synthesis,
        num_seed_questions=min(limit, synthesis.num_seed_questions),
        num_asked_items=min(limit // 8, synthesis.num_asked_items),
        num_translated=min(limit // 8, synthesis.num_translated),
    )


def with_knowledge(
    recipe: Recipe,
    corpus: str | None,
    *,
    reading: Mapping[str, Any] | None = None,
    writing: Mapping[str, Any] | None = None,
) -> Recipe:
    """Return the recipe with some of its knowledge and synthesis said otherwise; what is None stays the recipe's.

    On another `corpus` the VLM asks about its items, only what it cannot answer without them is kept, and a part of
    that is the benchmark. `reading` and `writing` are fields of KnowledgeRecipe and SynthesisRecipe.
    """
    reading, writing = ({name: value for name, value in (given or {}).items() if value} for given in (reading, writing))
    if "seeds" in writing:
        writing["seeds"] = tuple(writing["seeds"])
    if corpus is not None:
        reading["corpus"] = corpus
        writing = {"seeds": ()} | writing
        recipe = replace(
            recipe,
            synthesis=recipe.own_synthesis or recipe.synthesis,
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
    unanswered: Unanswered | None = None,
    knowledge: str | None = None,
    foreign: str | None = None,
    prompts: str | None = None,
) -> Recipe:
    """Return the recipe with another benchmark, other conditions, numbers of items or corpora; what is None stays.

    Raises:
        ValueError: an unknown benchmark or condition (the known ones are named), a number of items below 1, or the
            condition `foreign` without a corpus to show.
    """
    asked = recipe.evaluation
    benchmark_named(benchmark)
    if prompts is not None:
        prompt_set(prompts)
    for name in conditions or ():
        condition_named(name)
    if k is not None and (not k or min(k) < 1):
        raise ValueError(f"k is {list(k)}; expected numbers of items, each at least 1")
    if "foreign" in (conditions or ()) and not (foreign or asked.foreign):
        raise ValueError("the condition foreign shows items of another corpus: name one (foreign=...)")
    asked = replace(
        asked,
        benchmark=benchmark,
        part=asked.part if benchmark == asked.benchmark else None,
        conditions=tuple(conditions or asked.conditions),
        k=k[0] if k else asked.k,
        more_k=tuple(k[1:]) if k else asked.more_k,
        unanswered=unanswered or asked.unanswered,
        foreign=foreign or asked.foreign,
        prompts=prompts or asked.prompts,
    )
    retrieval = replace(recipe.retrieval, k=max(recipe.retrieval.k, *asked.all_k))
    corpus = replace(recipe.knowledge, corpus=knowledge or recipe.knowledge.corpus)
    return replace(recipe, evaluation=asked, retrieval=retrieval, knowledge=corpus)


def with_judge(recipe: Recipe, judge: str | None, *, unparsable: Unparsable | None = None) -> Recipe:
    """Return the recipe with a language model that judges every answer too; None: with the judge that it names, if any.

    Raises ValueError where something is said of a judge and none is named.
    """
    asked = recipe.evaluation.judge if judge is None else JudgeRecipe(generator=judge)
    if unparsable is None:
        return replace(recipe, evaluation=replace(recipe.evaluation, judge=asked))
    if asked is None:
        raise ValueError(f"judge_unparsable is {unparsable!r}, but no judge is named; name one (judge=served:<model>)")
    return replace(recipe, evaluation=replace(recipe.evaluation, judge=replace(asked, unparsable=unparsable)))


def with_reader(recipe: Recipe, reader: str | ReaderRecipe | None) -> Recipe:
    """Return the recipe with a text-only model as reader, and that in its name; None is the backbone itself."""
    if reader is None:
        return recipe
    reader = ReaderRecipe(name=reader) if isinstance(reader, str) else reader
    return replace(recipe, reader=reader, name=f"{recipe.name}+reader={reader.label}")


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with the seed of new weights and of the order of samples."""
    training = recipe.training
    seeded = replace(
        training, encoder=replace(training.encoder, seed=seed), optimizer=replace(training.optimizer, seed=seed)
    )
    return replace(recipe, training=seeded)
