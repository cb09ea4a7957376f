"""What workers hold: the reader, and the encoder on it. Loaded once a worker, when its first shard comes."""

from functools import lru_cache
from pathlib import Path

import torch

from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes.recipe import BackboneRecipe
from tasks.run import Run
from tasks.store import Reference


@lru_cache(maxsize=1)
def reader(run: Run) -> Backbone:
    """The run's backbone, as this worker's only model."""
    return load_for(run.recipe.backbone, device=run.context.device)


@lru_cache(maxsize=1)
def encoder_of(run: Run, encoder: Reference) -> MemoryEncoder:
    """A trained encoder on the run's backbone. The backbone is loaded anew: a LoRA changes its modules for good."""
    return MemoryEncoder.load(Path(encoder.uri), load_for(run.recipe.backbone, device=run.context.device))


def load_for(recipe: BackboneRecipe, *, device: str) -> Backbone:
    return load_backbone(recipe.name, family=recipe.family, dtype=getattr(torch, recipe.dtype), device=device)
