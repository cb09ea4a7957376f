"""What workers hold: the reader, what writes the data, and the encoder. Loaded once a worker, at its first shard."""

from pathlib import Path

import torch

from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone, load_text_model, width_of
from comem_core.backbone.text import TextModel
from comem_core.memory.answering import Answering
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.transfer import TextTransfer, TransferRecipe
from comem_core.recipes.recipe import BackboneRecipe, JudgeRecipe
from comem_core.synthesis.generator import Generator
from tasks.engine.seat import held
from tasks.engine.store import Reference
from tasks.run import Run
from tasks.served import served_judge, served_model, served_name


@held(1)
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


@held(1)
def _encoder_at(folder: str, backbone: BackboneRecipe, device: str) -> MemoryEncoder:
    """As this worker's only encoder, whichever benchmark it answers."""
    return MemoryEncoder.load(Path(folder), load_for(backbone, device=device))


def answering_of(run: Run, encoder: Reference, transfer: Reference | None) -> Answering:
    """Who answers from an encoder's memories: its own backbone, or the run's text-only reader."""
    return encoder_of(run, encoder) if run.reader is None else transfer_between(run, encoder, transfer)


def transfer_between(run: Run, encoder: Reference, transfer: Reference | None = None) -> TextTransfer:
    """An encoder and the run's text-only reader, with a trained projection, or with one before any training."""
    assert run.reader is not None and run.recipe.reader is not None
    trained = encoder_of(run, encoder)
    reader = _text_reader_at(run.reader.uri, run.recipe.reader.name, run.recipe.backbone.dtype, run.context.device)
    if transfer is not None:
        return TextTransfer.load(transfer.folder, trained, reader)
    return TextTransfer(trained, reader, transfer_recipe(run))


def transfer_recipe(run: Run) -> TransferRecipe:
    """How memories reach the run's text-only reader: as they are, or where widths differ through a projection."""
    assert run.reader is not None and run.recipe.reader is not None
    asked, differ = run.recipe.reader, width_of(run.backbone.folder) != width_of(run.reader.folder)
    return TransferRecipe(
        projection=asked.projection or differ, question_picture=asked.question_picture, seed=asked.seed
    )


@held(1)
def _text_reader_at(folder: str, name: str, dtype: str, device: str) -> TextModel:
    """As this worker's only text-only model."""
    reader = load_text_model(folder, dtype=getattr(torch, dtype), device=device)
    reader.name = name
    return reader


def load_for(recipe: BackboneRecipe, *, device: str) -> Backbone:
    return load_backbone(recipe.name, family=recipe.family, dtype=getattr(torch, recipe.dtype), device=device)
