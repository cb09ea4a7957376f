"""Embedders in a run: what names the weights of those that its retrieval needs, and how a worker holds them."""

from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.registry import BACKBONE, embedder_fingerprint, load_embedder
from comem_core.recipes.retrieval import sides_of
from tasks.engine.store import Reference
from tasks.models import held, reader
from tasks.run import Run


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


@held(2)
def embedder_of(run: Run, name: str) -> Embedder:
    """An embedder in this worker, loaded once."""
    if name != BACKBONE:
        return load_embedder(name, device=run.context.device)
    visual_tokens = run.recipe.training.encoder.item_visual_tokens
    return BackboneEmbedder(reader(run), grid=run.recipe.retrieval.grid, visual_tokens=visual_tokens)
