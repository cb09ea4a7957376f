"""Embedders in a run: what names the weights of those that its retrieval needs, and how a worker holds them."""

from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.registry import BACKBONE, load_embedder, name_embedder
from comem_core.recipes.retrieval import name_sides
from tasks.engine.store import Reference
from tasks.models import held, load_reader
from tasks.run import Run


def name_embedders(run: Run) -> dict[str, Reference]:
    """Name the weights of each side's embedder by their hash, as inputs of a stage."""
    inputs = {}
    for side, name in name_sides(run.recipe.retrieval).items():
        if name == BACKBONE:
            inputs[BACKBONE] = run.backbone
        else:
            fingerprint = name_embedder(name)
            inputs[f"{side}_embedder"] = Reference(stage="embedder", fingerprint=fingerprint, uri="", num_rows=0)
    return inputs


@held(2)
def find_embedder(run: Run, name: str) -> Embedder:
    """An embedder in this worker, loaded once."""
    if name != BACKBONE:
        return load_embedder(name, device=run.context.device)
    visual_tokens = run.recipe.training.encoder.item_visual_tokens
    return BackboneEmbedder(load_reader(run), grid=run.recipe.retrieval.grid, visual_tokens=visual_tokens)
