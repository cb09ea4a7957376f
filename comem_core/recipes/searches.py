"""Ways to search, to be compared on one corpus: each is a recipe's retrieval with other embedders or weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Literal

from comem_core.evaluation.benchmarks.own import NAME as OWN
from comem_core.evaluation.benchmarks.registry import find_all_benchmarks, find_benchmark
from comem_core.knowledge.embedders.registry import BACKBONE, PACKAGED, can_embed_images, find_embedder_files
from comem_core.knowledge.searching import BOTH, IMAGE, TEXT
from comem_core.recipes.recipe import Recipe, RetrievalRecipe
from comem_core.recipes.retrieval import name_sides

PICTURES, ASKED = "pictures", "asked"
"""Questions that a corpus gives itself: its own pictures alone, or with what the VLM asks about them."""
DEEPEST, FUSION_WEIGHTS = 10, (0.25, 0.5, 0.75)
"""How many items each search finds at least, and the weights of the texts that are tried where both sides count."""


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """The questions to search for (`pictures`, `asked`, or the recipe's benchmark), and the searches by name."""

    recipe: Recipe
    questions: str
    searches: dict[str, RetrievalRecipe]

    @property
    def is_asked(self) -> bool:
        """Whether the VLM asks the questions."""
        return self.questions == ASKED


def list_installed() -> list[str]:
    """List the embedders in packages that are installed here."""
    return [name for name in PACKAGED if _is_installed(name)]


def list_searches(recipe: RetrievalRecipe, installed: Sequence[str], *, with_words: bool) -> list[RetrievalRecipe]:
    """List what can be tried: the recipe's own search, the backbone's tower and every installed embedder, each among
    items in the question's language and in every language; and, where questions have words, the recipe's embedder of
    pictures together with each of texts, with `FUSION_WEIGHTS`."""
    seeing = [BACKBONE, *(name for name in installed if PACKAGED[name].images)]
    reading = [name for name in installed if PACKAGED[name].texts] if with_words else []
    own_eye = BACKBONE if recipe.by == TEXT else recipe.embedder
    alone = [recipe] if with_words or recipe.by == IMAGE else []
    alone += [_search_by(recipe, IMAGE, embedder=name) for name in dict.fromkeys([own_eye, *seeing])]
    alone += [_search_by(recipe, TEXT, text_embedder=name) for name in reading]
    scopes = (recipe.same_language, not recipe.same_language)
    found = [replace(search, same_language=scope) for search in alone for scope in scopes]
    found += [
        _search_by(recipe, BOTH, embedder=own_eye, text_embedder=name, text_weight=weight)
        for name in reading
        for weight in FUSION_WEIGHTS
    ]
    named: dict[str, RetrievalRecipe] = {}
    for search in found:
        named.setdefault(name_search(search), search)
    return list(named.values())


def vary_search(
    recipe: RetrievalRecipe,
    *,
    by: Literal["image", "text", "both"] | None = None,
    embedder: str | None = None,
    text_embedder: str | None = None,
    **fields: Any,
) -> RetrievalRecipe:
    """Return the recipe's retrieval with other embedders and fields; None means the recipe's value.

    Without `by`, an embedder that sees no pictures compares texts, a `text_embedder` both, and any other pictures.

    Raises ValueError for an unknown embedder, one that lacks what is compared, and a field that nothing would use.
    """
    if embedder is not None and not can_embed_images(embedder):
        by = by or TEXT
    by = by or (BOTH if text_embedder else IMAGE if embedder else recipe.by)
    if by == TEXT and embedder is not None:
        text_embedder, embedder = text_embedder or embedder, None
    sides: dict[str, Any] = {}
    if by != TEXT:
        sides["embedder"] = embedder or recipe.embedder
    if by != IMAGE:
        sides["text_embedder"] = text_embedder or recipe.text_embedder
    if by == BOTH:
        sides["text_weight"] = recipe.text_weight
    eye = sides.get("embedder")
    unused = {"text_embedder": text_embedder} if by == IMAGE else {}
    unused |= {"text_weight": fields.get("text_weight")} if by != BOTH else {}
    unused |= {"grid": fields.get("grid")} if eye != BACKBONE else {}
    for name, value in unused.items():
        if value is not None:
            why = f"pictures are seen by {eye}" if name == "grid" and eye else f"by is {by!r}"
            raise ValueError(f"{name} is {value!r}, which has no effect, because {why}; leave it out")
    given = {name: value for name, value in fields.items() if value is not None}
    varied = replace(_search_by(recipe, by, **sides), **given)
    name_sides(varied)
    return varied


def make_trial(
    recipe: Recipe, questions: str, among: Sequence[RetrievalRecipe] | None = None, *, num_questions: int
) -> SearchTrial:
    """Make the trial of these searches, or without any of all that can be tried here, on up to so many questions.

    A benchmark is asked by the part that models are tuned on, if it has one.

    Raises ValueError for questions that do not name their items, a search that its embedders do not allow, that needs
    words where the questions have none, or that is named twice, and for an embedder that is missing.
    """
    _check_questions(questions)
    recipe = _ask(recipe, questions, num_questions)
    has_words = questions != PICTURES
    deep = replace(recipe.retrieval, k=max(DEEPEST, recipe.retrieval.k))
    if among is None:
        among = list_searches(deep, list_installed(), with_words=has_words)
    searches = [replace(each, k=deep.k) for each in among]
    for search in searches:
        sides = name_sides(search)
        if not has_words and TEXT in sides:
            raise ValueError(
                f"{name_search(search)} compares texts, but the questions are pictures without words; name a benchmark,"
                f" or let the VLM ask: -p questions={ASKED}"
            )
        for name in sides.values():
            if name != BACKBONE:
                find_embedder_files(name)
    named = {name_search(search): search for search in searches}
    if len(named) < len(searches):
        named = {name_search(search, whole=True): search for search in searches}
    if len(named) < len(searches):
        raise ValueError(f"a search is named twice; found {', '.join(map(name_search, searches))}")
    return SearchTrial(recipe=recipe, questions=questions, searches=named)


def _check_questions(questions: str) -> None:
    known = [name for name, benchmark in find_all_benchmarks().items() if benchmark.names_items]
    if questions in (PICTURES, ASKED, *known):
        return
    why = "its questions do not name the item that answers them" if questions in find_all_benchmarks() else "unknown"
    raise ValueError(f"questions is {questions!r} ({why}); expected {PICTURES}, {ASKED} or one of {', '.join(known)}")


def _ask(recipe: Recipe, questions: str, num: int) -> Recipe:
    """Return the recipe that asks up to so many questions of this kind."""
    if questions == PICTURES:
        return replace(recipe, evaluation=replace(recipe.evaluation, benchmark=OWN, part=None, num_questions=num))
    if questions == ASKED:
        own = recipe.own_synthesis or recipe.synthesis
        asking = replace(own, seeds=(), num_asked_items=num, num_kinds=1, max_samples=num)
        asked = replace(recipe.evaluation, benchmark=OWN, part=None)
        return replace(recipe, synthesis=asking, evaluation=asked)
    part = find_benchmark(questions).tuning_part
    return replace(recipe, evaluation=replace(recipe.evaluation, benchmark=questions, part=part, num_questions=num))


def name_search(recipe: RetrievalRecipe, *, whole: bool = False) -> str:
    """Return the name of a search: its embedders, those in a folder by its last part (`whole`: by all of it), and what
    else sets it apart, such as `backbone 4x4, e5 at 0.5`."""
    parts = []
    for side, named in name_sides(recipe).items():
        kind, _, where = named.partition(":")
        embedder = f"{kind}:{where if whole else PurePath(where).name}" if where else kind
        is_gridded = embedder == BACKBONE and tuple(recipe.grid) != (1, 1)
        parts.append(f"{embedder} {recipe.grid[0]}x{recipe.grid[1]}" if is_gridded else embedder)
        if side == TEXT and recipe.by == BOTH:
            parts[-1] += f" at {recipe.text_weight:g}"
    return ", ".join(parts) + ("" if recipe.same_language else ", every language")


def _search_by(recipe: RetrievalRecipe, by: str, **fields: object) -> RetrievalRecipe:
    """Return the recipe's retrieval by other sides; what these do not use has its default."""
    plain = RetrievalRecipe()
    unused = {"embedder": plain.embedder, "text_embedder": None, "text_weight": plain.text_weight}
    grid = recipe.grid if fields.get("embedder") == BACKBONE else plain.grid
    return replace(recipe, **{**unused, "grid": grid, **fields, "by": by})  # pyright: ignore[reportArgumentType]


def _is_installed(name: str) -> bool:
    try:
        find_embedder_files(name)
    except ValueError:
        return False
    return True
