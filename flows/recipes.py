"""Makes a recipe from the options of a flow, and finds faults in the options before anything runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from comem_core.backbone.finding import check_backbone_name
from comem_core.evaluation.benchmarks.own import NAME as OWN
from comem_core.evaluation.llm_judge import read_judge_prompts
from comem_core.knowledge.corpora import check_corpus
from comem_core.recipes import find_recipe, with_backbone, with_evaluation, with_judge, with_knowledge, with_reader
from comem_core.recipes.names import check_names
from comem_core.recipes.recipe import JudgeRecipe, ReaderRecipe, Recipe, RetrievalRecipe
from comem_core.recipes.scaling import Variant
from comem_core.recipes.searches import PICTURES, SearchTrial, make_trial, vary_search
from comem_core.synthesis.generator import read_generator_name
from comem_core.synthesis.seeds import check_source
from flows.options import Benchmarks, ChosenBackbone, Conditions, Knowledge, Limits, Search, Writing
from tasks.engine.context import Context, refuse_faults
from tasks.engine.store import Store
from tasks.training.encoder import check_start
from tasks.training.encoders import check_encoders


@refuse_faults()
def recipe_to_train(
    recipe: str | Mapping[str, Any],
    *,
    backbone: str | ChosenBackbone | None,
    variant: Variant | None,
    seed: int | None,
    knowledge: str | Knowledge | None,
    writing: str | Writing | None,
    judge: str | JudgeRecipe | None,
    reader: str | ReaderRecipe | None,
    limit: int | Limits | None,
    start: str | None,
) -> Recipe:
    """Return the recipe of synth-and-train with its options applied.

    Raises ParameterRefused for options that contradict each other or name something that does not exist.
    """
    read, limits = as_knowledge(knowledge), as_limits(limit)
    written = Writing(generator=writing) if isinstance(writing, str) else writing or Writing()
    with refuse_faults("writing"):
        for each in written.seeds or ():
            check_source(each)
    if written.generator is not None:
        with refuse_faults("writing"):
            read_generator_name(written.generator)
    named = _add_backbone(find_recipe(recipe, limit=limits.questions, seed=seed, variant=variant), backbone)
    whole = with_knowledge(
        _add_judge(named, judge),
        read.corpus,
        reading=_read_fields(read),
        writing={
            "seeds": written.seeds,
            "num_asked_items": written.ask_about,
            "generator": written.generator,
            "max_samples": limits.max_samples,
        },
    )
    if not whole.synthesis.seeds and not whole.synthesis.num_asked_items:
        raise ValueError(
            "writing: there would be no questions, neither from seeds nor from the VLM; name seeds, or set ask_about "
            "to 1 or more"
        )
    _check_own(recipe, whole, changed=backbone is not None)
    with refuse_faults("start"):
        check_start(whole, start)
    return _add_reader(whole, reader)


@refuse_faults()
def recipes_to_ask(
    recipe: str | Mapping[str, Any],
    *,
    backbone: str | ChosenBackbone | None,
    encoders: Sequence[str] | None,
    benchmarks: Sequence[str] | Benchmarks | None,
    conditions: Sequence[str] | Conditions | None,
    knowledge: str | Knowledge | None,
    judge: str | JudgeRecipe | None,
    reader: str | ReaderRecipe | None,
    limit: int | None,
) -> dict[str, Recipe]:
    """Return the recipe of re-evaluate for each benchmark, in order.

    Raises ParameterRefused for options that contradict each other or name something that does not exist.
    """
    asked = benchmarks if isinstance(benchmarks, Benchmarks) else Benchmarks(names=_make_list(benchmarks))
    shown = conditions if isinstance(conditions, Conditions) else Conditions(names=_make_list(conditions))
    if shown.foreign is not None:
        with refuse_faults("conditions.foreign"):
            check_corpus(shown.foreign)
    named = _add_backbone(find_recipe(recipe, limit=limit), backbone)
    _check_own(recipe, named)
    judged = _add_reader(_add_judge(named, judge), reader)
    if encoders is not None:
        with refuse_faults("encoders"):
            check_encoders(judged, encoders, Store.of(Context.from_environment()))
    own = _add_reading(judged, as_knowledge(knowledge))
    return {
        name: with_evaluation(
            own,
            name,
            conditions=shown.names,
            k=shown.k,
            k_among=shown.k_among,
            foreign=shown.foreign,
            unanswered=asked.unanswered,
            prompts=asked.prompts,
        )
        for name in ([own.evaluation.benchmark] if asked.names is None else asked.names)
    }


@refuse_faults()
def recipe_to_encode(
    recipe: str | Mapping[str, Any], *, backbone: str | ChosenBackbone | None, knowledge: str | Knowledge | None
) -> Recipe:
    """Return the recipe of rebuild-memory. Raises ParameterRefused for a backbone or a corpus that cannot be."""
    whole = _add_reading(_add_backbone(find_recipe(recipe), backbone), as_knowledge(knowledge))
    _check_own(recipe, whole)
    return whole


@refuse_faults()
def make_search_trial(
    recipe: str | Mapping[str, Any],
    *,
    backbone: str | ChosenBackbone | None,
    knowledge: str | Knowledge | None,
    questions: str | None,
    among: Sequence[str | Search] | None,
    limit: int,
) -> SearchTrial:
    """Return what compare-retrieval tries: the questions, and the ways to search for them.

    Raises ParameterRefused for a corpus, a benchmark or a search that cannot be.
    """
    read = as_knowledge(knowledge)
    whole = recipe_to_encode(recipe, backbone=backbone, knowledge=read)
    asked = questions or (PICTURES if read.corpus or whole.evaluation.benchmark == OWN else whole.evaluation.benchmark)
    given = None if among is None else [Search(embedder=each) if isinstance(each, str) else each for each in among]
    searches = None if given is None else [_make_search(whole, number, each) for number, each in enumerate(given)]
    return make_trial(whole, asked, searches, num_questions=limit)


def _make_search(recipe: Recipe, number: int, given: Search) -> RetrievalRecipe:
    with refuse_faults(f"among.{number}"):
        return vary_search(recipe.retrieval, **vars(given))


def as_knowledge(given: str | Knowledge | None) -> Knowledge:
    """Return the option `knowledge` as a group. Raises ValueError for a corpus that does not exist."""
    read = Knowledge(corpus=given) if isinstance(given, str) else given or Knowledge()
    if read.corpus is not None:
        with refuse_faults("knowledge"):
            check_corpus(read.corpus)
    return read


def as_limits(given: int | Limits | None) -> Limits:
    """Return the option `limit` as a group; a number sets its field `questions`."""
    return Limits(questions=given) if isinstance(given, int) else given or Limits()


def _add_backbone(recipe: Recipe, given: str | ChosenBackbone | None) -> Recipe:
    chosen = ChosenBackbone(name=given) if isinstance(given, str) else given or ChosenBackbone()
    try:
        return with_backbone(recipe, **asdict(chosen))
    except ValueError as error:
        raise ValueError(f"backbone: {error}") from error


def _check_own(given: str | Mapping[str, Any], recipe: Recipe, *, changed: bool = False) -> None:
    """Check that what a recipe of the user's own names exists and fits; of the shipped ones, tests know it."""
    if changed or isinstance(given, Mapping):
        check_names(recipe)
        read_generator_name(recipe.synthesis.generator)
        if recipe.evaluation.judge is not None:
            read_generator_name(recipe.evaluation.judge.generator)


def _make_list(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _add_judge(recipe: Recipe, judge: str | JudgeRecipe | None) -> Recipe:
    judged = with_judge(recipe, judge)
    if judge is not None and (asked := judged.evaluation.judge):
        with refuse_faults("judge"):
            read_generator_name(asked.generator)
            read_judge_prompts(asked.prompts)
    return judged


def _add_reader(recipe: Recipe, reader: str | ReaderRecipe | None) -> Recipe:
    try:
        read_by = with_reader(recipe, reader)
        if read_by.reader is not None:
            check_backbone_name(read_by.reader.name)
    except ValueError as error:
        raise ValueError(f"reader: {error}") from error
    return read_by


def _read_fields(read: Knowledge) -> dict[str, Any]:
    """Return the fields for a KnowledgeRecipe, without the corpus; None means the recipe's own value."""
    said = {name: getattr(read, name) for name in ("language", "source", "licence", "images", "allow_urls")}
    return said | {"columns": None if read.columns is None else tuple(sorted(read.columns.items()))}


def _add_reading(recipe: Recipe, read: Knowledge) -> Recipe:
    said = {"corpus": read.corpus} | _read_fields(read)
    changed = {name: value for name, value in said.items() if value is not None}
    return replace(recipe, knowledge=replace(recipe.knowledge, **changed))


MAKERS: Mapping[str, Callable[..., object]] = {
    "synth-and-train": recipe_to_train,
    "re-evaluate": recipes_to_ask,
    "rebuild-memory": recipe_to_encode,
    "compare-retrieval": make_search_trial,
}
"""The function that makes the recipe of each flow, by flow name; its parameters are among the flow's."""
