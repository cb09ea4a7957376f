"""Embedders in a run: which ones its retrieval needs, what names their weights, and how a worker holds them."""

from functools import lru_cache

from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.registry import (
    BACKBONE,
    embedder_fingerprint,
    load_embedder,
    reads_texts,
    sees_images,
)
from comem_core.recipes.recipe import RetrievalRecipe
from tasks.models import reader
from tasks.run import Run
from tasks.store import Reference

IMAGE, TEXT = "image", "text"


def sides_of(recipe: RetrievalRecipe) -> dict[str, str]:
    """Name the embedder of each side that is searched: of pictures, of texts, or of both.

    Raises:
        ValueError: an embedder cannot do what is asked of it, or one is named that would have no effect.
    """
    sides = {}
    if recipe.by != TEXT:
        if not sees_images(recipe.embedder):
            raise ValueError(f"retrieval.embedder is {recipe.embedder!r}, which sees no pictures; name one that does")
        sides[IMAGE] = recipe.embedder
    if recipe.by != IMAGE:
        name = recipe.text_embedder or recipe.embedder
        if not reads_texts(name):
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


def embedder_references(run: Run) -> dict[str, Reference]:
    """Name the weights of each side's embedder by their hash, as inputs of a stage."""
    inputs = {}
    for side, name in sides_of(run.recipe.retrieval).items():
        if name == BACKBONE:
            inputs[BACKBONE] = run.backbone
        else:
            fingerprint = embedder_fingerprint(name)
            inputs[f"{side}_embedder"] = Reference(stage="embedder", fingerprint=fingerprint, uri="", num_rows=0)
    return inputs


@lru_cache(maxsize=2)
def embedder_of(run: Run, name: str) -> Embedder:
    """An embedder in this worker, loaded once."""
    if name != BACKBONE:
        return load_embedder(name, device=run.context.device)
    visual_tokens = run.recipe.training.encoder.item_visual_tokens
    return BackboneEmbedder(reader(run), grid=run.recipe.retrieval.grid, visual_tokens=visual_tokens)
