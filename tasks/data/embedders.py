"""The embedders that a run's retrieval needs: their weights as inputs of stages, and their loading in a worker."""

from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.registry import BACKBONE, load_embedder, name_embedder
from comem_core.recipes.retrieval import name_sides
from tasks.engine.store import Reference
from tasks.models import held, load_reader
from tasks.run import Run


def name_embedders(run: Run) -> dict[str, Reference]:
    """Return the embedder of each side as an input of a stage, named by the hash of its weights."""
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
    """Return an embedder, which is loaded once in this worker."""
    if name != BACKBONE:
        return load_embedder(name, device=run.context.device)
    visual_tokens = run.recipe.training.encoder.item_visual_tokens
    return BackboneEmbedder(load_reader(run), grid=run.recipe.retrieval.grid, visual_tokens=visual_tokens)
