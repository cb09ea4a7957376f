"""Says, before the first stage, that a recipe for GPUs would run on the CPU."""

from pathlib import Path

from comem_core.recipes.recipe import BackboneRecipe, Recipe
from tasks.engine.context import Context, has_gpu
from tasks.engine.store import Reference

LARGE_GB = 2.0
"""A model with more gigabytes of weights than this is made for GPUs; the largest that ships for CPUs has half a one."""
HALF = ("bfloat16", "float16")


def describe_missing_gpu(recipe: Recipe, backbone: Reference, context: Context) -> str | None:
    """Return what a user should know before a model for GPUs runs on the CPU; None if nothing is wrong.

    With a Ray cluster, its workers count and not this machine. Where a GPU is asked for, the context and Ray check that
    there is one.
    """
    if context.device != "cpu" or (why := _explain_gpus(recipe.backbone, backbone)) is None:
        return None
    setting = "COMEM_DEVICE=cuda COMEM_GPUS_PER_ACTOR=1"
    if context.ray_address:
        here = f"COMEM_DEVICE is cpu, so the workers of the Ray cluster {context.ray_address} would use none; {setting}"
    elif has_gpu():
        here = f"COMEM_DEVICE is cpu, so the one of this machine would not be used; {setting}"
    else:
        here = f"none is seen here; RAY_ADDRESS joins a cluster that has some, and {setting}"
    return f"{recipe.name} is made for GPUs ({why}): {here} lets each worker use one (docs/gpu.md)"


def _explain_gpus(recipe: BackboneRecipe, backbone: Reference) -> str | None:
    """Return why a backbone is made for GPUs, or None. Of weights that are not here only the number type is known."""
    if not backbone.uri:
        return f"{recipe.name} in {recipe.dtype}" if recipe.dtype in HALF else None
    gigabytes = sum(path.stat().st_size for path in Path(backbone.uri).glob("*.safetensors")) / 1e9
    return f"the weights of {recipe.name} have {gigabytes:.1f} GB" if gigabytes > LARGE_GB else None
