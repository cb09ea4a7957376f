"""Retrieves items for the same questions in several ways; searches among the same vectors share an index."""

from collections.abc import Mapping
from dataclasses import fields, replace

from comem_core.recipes.recipe import RetrievalRecipe
from comem_core.serving.search_keys import RetrievalKey
from tasks.data.index import build_index
from tasks.data.retrieve import retrieve
from tasks.engine.store import Reference
from tasks.run import Run

SEARCHING = {each.name for each in fields(RetrievalKey)} - {"by"}
"""The fields of a recipe's retrieval that decide how an index is searched, and not what is in it."""


def retrieve_by_each(
    run: Run, knowledge: Reference, questions: Reference, searches: Mapping[str, RetrievalRecipe]
) -> dict[str, Reference]:
    """Return what each search retrieves for the questions, by the search's name."""
    indexes, found = {}, {}
    for name, search in searches.items():
        asking, vectors = run.with_recipe(retrieval=search), _describe_vectors(search)
        if vectors not in indexes:
            indexes[vectors] = build_index(asking, knowledge)
        found[name] = retrieve(asking, indexes[vectors], questions)
    return found


def _describe_vectors(search: RetrievalRecipe) -> RetrievalRecipe:
    """Return a search without what decides only how its index is searched."""
    plain = RetrievalRecipe()
    return replace(search, **{name: getattr(plain, name) for name in SEARCHING})
