"""Encode a corpus with the latest encoder: a bank of your own knowledge, or of the recipe's after it has changed."""

from prefect import flow

from flows.options import BackboneOption, KnowledgeOption, RecipeOption
from flows.recipes import recipe_to_encode
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.engine.store import Reference
from tasks.evaluation.ending import end_with_explanation
from tasks.evaluation.opening import explain_opening
from tasks.memory.encode import encode_memory
from tasks.run import open_run
from tasks.training.encoders import find_latest_encoder


@flow(name="rebuild-memory")
@end_with_explanation
def rebuild_memory(
    recipe: RecipeOption = "tiny_cpu",
    backbone: BackboneOption | None = None,
    knowledge: KnowledgeOption | None = None,
    on_cpu: bool = False,
) -> Reference:
    """Encode knowledge items into a bank with the latest encoder of a recipe's backbone, and index them for search.

    Args:
        recipe: gives backbone and encoder, as in synth-and-train.
        backbone: the VLM in place of the recipe's, as in synth-and-train.
        knowledge: a corpus in place of the recipe's: a folder, a file or a URL (docs/data.md).
        on_cpu: run a model that is made for GPUs on the CPU all the same.
    """
    whole = recipe_to_encode(recipe, backbone=backbone, knowledge=knowledge)
    with open_run("rebuild-memory", whole, stated=recipe, on_cpu=on_cpu) as run:
        encoder = find_latest_encoder(run)
        items = ingest_knowledge(run)
        build_index(run, items)
        bank = encode_memory(run, items, encoder)
        explain_opening(run, bank)
        return bank
