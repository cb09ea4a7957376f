"""What workers hold: the reader, what writes the data, and the encoder. Loaded once a worker, at its first shard."""

from functools import lru_cache
from pathlib import Path

import torch

from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes.recipe import BackboneRecipe, JudgeRecipe
from comem_core.synthesis.generator import Generator
from tasks.run import Run
from tasks.served import served_judge, served_model, served_name
from tasks.store import Reference


@lru_cache(maxsize=1)
def reader(run: Run) -> Backbone:
    """The run's backbone, as this worker's only model."""
    return load_for(run.recipe.backbone, device=run.context.device)


def generator(run: Run) -> Generator:
    """What writes questions and drafts: the backbone itself, or the served model that the recipe names."""
    return served_model(run.recipe.synthesis, run.context) or reader(run)


def generator_name(run: Run) -> str:
    """The name that drafts are recorded with."""
    recipe = run.recipe
    return recipe.backbone.name if served_name(recipe.synthesis.generator) is None else recipe.synthesis.generator


def inputs_of_generator(run: Run) -> dict[str, Reference]:
    """What generated rows are made from besides their prompts: the backbone, unless a served model writes them."""
    return {} if served_name(run.recipe.synthesis.generator) else {"backbone": run.backbone}


def judge_of(run: Run, judge: JudgeRecipe) -> Generator:
    """What judges answers: the backbone itself, or the served model that the recipe names."""
    return served_judge(judge, run.context) or reader(run)


def encoder_of(run: Run, encoder: Reference) -> MemoryEncoder:
    """A trained encoder on the run's backbone. The backbone is loaded anew: a LoRA changes its modules for good."""
    return _encoder_at(encoder.uri, run.recipe.backbone, run.context.device)


@lru_cache(maxsize=1)
def _encoder_at(folder: str, backbone: BackboneRecipe, device: str) -> MemoryEncoder:
    """As this worker's only encoder, whichever benchmark it answers."""
    return MemoryEncoder.load(Path(folder), load_for(backbone, device=device))


def load_for(recipe: BackboneRecipe, *, device: str) -> Backbone:
    return load_backbone(recipe.name, family=recipe.family, dtype=getattr(torch, recipe.dtype), device=device)
