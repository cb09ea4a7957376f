"""Checks a recipe's retrieval settings, and names the embedders that they use. Loads no model."""

from typing import get_args, get_type_hints

from comem_core.knowledge.embedders.registry import BACKBONE, can_embed_images, can_embed_texts, find_embedder_files
from comem_core.knowledge.searching import IMAGE, TEXT
from comem_core.recipes.recipe import Recipe, RetrievalRecipe


def name_sides(recipe: RetrievalRecipe) -> dict[str, str]:
    """Name the embedder of each searched side: pictures, texts, or both.

    Raises:
        ValueError: an embedder lacks the modality that the recipe needs, or is set but not used.
    """
    sides = {}
    if recipe.by != TEXT:
        if not can_embed_images(recipe.embedder):
            raise ValueError(f"retrieval.embedder is {recipe.embedder!r}, which sees no pictures; name one that does")
        sides[IMAGE] = recipe.embedder
    if recipe.by != IMAGE:
        name = recipe.text_embedder or recipe.embedder
        if not can_embed_texts(name):
            raise ValueError(
                f"retrieval.by is {recipe.by!r}, but {name!r} reads no texts; name a retrieval.text_embedder, "
                "such as e5 (many languages) or minilm (English)"
            )
        sides[TEXT] = name
    elif recipe.text_embedder is not None:
        raise ValueError(
            f"retrieval.text_embedder is {recipe.text_embedder!r}, but retrieval.by is 'image', which reads no texts; "
            "set by to 'text' or 'both', or text_embedder to None"
        )
    return sides


def check_retrieval(recipe: Recipe) -> None:
    """Check that the stages that index and retrieve can work, and that they find as many items as the recipe shows.

    Raises:
        ValueError: the kind of search or an embedder is unknown, its weights are missing, or a number is out of range.
    """
    retrieval = recipe.retrieval
    known = get_args(get_type_hints(RetrievalRecipe)["by"])
    if retrieval.by not in known:
        raise ValueError(f"retrieval.by is {retrieval.by!r}; expected one of {', '.join(known)}")
    for name in name_sides(retrieval).values():
        if name != BACKBONE:
            find_embedder_files(name)
    if not 0 <= retrieval.text_weight <= 1:
        raise ValueError(
            f"retrieval.text_weight is {retrieval.text_weight}; expected a share from 0 (pictures alone) to 1 (texts "
            "alone)"
        )
    if min(retrieval.grid) < 1:
        raise ValueError(f"retrieval.grid is {retrieval.grid}; expected rows and columns, each at least 1")
    _check_numbers(recipe)


def _check_numbers(recipe: Recipe) -> None:
    """Check that every number of items to show is at least 1, and at most the number of retrieved items."""
    retrieved, own = recipe.retrieval.k, recipe.own_synthesis
    shown = [("retrieval.k", retrieved), ("synthesis.k", recipe.synthesis.k)]
    shown += [("own_synthesis.k", own.k)] if own else []
    shown += [("evaluation.k", k) for k in recipe.evaluation.all_k]
    for name, k in [*shown, *(("evaluation.held_out.k_among", k) for k in recipe.evaluation.held_out.k_among)]:
        if k < 1:
            raise ValueError(f"{name} is {k}; expected a number of items, at least 1")
        if k > retrieved:
            raise ValueError(f"{name} is {k}, but {retrieved} items are retrieved; set retrieval.k to {k} or more")
