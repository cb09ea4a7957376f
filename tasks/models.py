"""The models of workers: reader, generator, judge and encoder. A worker loads each one once, at its first shard.

The stages import this module to name models. So torch and the library's models are imported where one is loaded, which
only workers do.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from comem_core.addresses.copies import open_folder
from comem_core.backbone.finding import find_installed_folder
from comem_core.backbone.images import VisualTokens
from comem_core.memory.transfer_recipe import TransferRecipe
from comem_core.neutral import OFF_AT_NONE, off_at
from comem_core.recipes.recipe import BackboneRecipe, JudgeRecipe
from comem_core.synthesis.generator import BACKBONE, VLLM, Generator, read_generator_name
from tasks.engine.context import Context
from tasks.engine.reuse import RowNames, Stage, list_libraries
from tasks.engine.store import Reference
from tasks.engine.worker_process import held
from tasks.run import Run
from tasks.served import (
    Role,
    ServedHere,
    check_served,
    find_engine,
    find_served_judge,
    find_served_model,
    make_client,
)
from tasks.vllm.process import EngineOrder

if TYPE_CHECKING:
    from comem_core.backbone.interface import Backbone
    from comem_core.backbone.text import TextModel
    from comem_core.memory.answering import Answering
    from comem_core.memory.encoder import MemoryEncoder
    from comem_core.memory.transfer import TextTransfer

PICTURES = "pillow"  # the library that prepares pictures


@held(1)
def load_reader(run: Run) -> "Backbone":
    """Load the run's backbone, as this worker's only model."""
    return load_for(run.recipe.backbone, device=run.context.device)


def write_with_generator(run: Run, write: Callable[[Run], None]) -> None:
    """Let a stage write with the run's generator: check a served model first, or start engines for the run's own.

    `write` gets the run as its workers need it. If an engine dies it is called again, for what is missing.

    Raises:
        ValueError, ServerGone: the served model does not answer as it should.
        ValueError, EngineFailed: vLLM or the model is not there, or its server does not start.
    """
    if run.writer is None:
        check_served(run.recipe.synthesis, run.context)
        write(run)
    else:
        _work_with_vllm(run, run.writer, write, num_images=1 + run.recipe.synthesis.k, role="served")


def judge_with_generator(run: Run, work: Callable[[Run], None]) -> None:
    """Let a stage judge answers; as `write_with_generator`, without a check of a judge that is served elsewhere."""
    if run.judge is None:
        work(run)
    else:
        _work_with_vllm(run, run.judge, work, num_images=0, role="judge")


def _work_with_vllm(run: Run, served: ServedHere, work: Callable[[Run], None], *, num_images: int, role: Role) -> None:
    from tasks.vllm.engines import Engines, work_with_engines  # only the run's process starts any

    order = EngineOrder(
        model=served.model,
        name=served.served_name,
        dtype=run.recipe.backbone.dtype,
        num_images=num_images,
        version=served.version,
        python=run.context.vllm_python,
        further=served.further,
    )

    def work_there(engines: Engines, asking: Context) -> None:
        found = {f"{role}_url": ",".join(engines.urls), f"{role}_key": engines.key}
        work(replace(run, context=replace(asking, **found)))

    work_with_engines(order, run.context, work_there)


def make_generator(run: Run) -> Generator:
    """Return the writer of questions and drafts: the backbone itself, or the served model that the recipe names."""
    if run.writer is not None:
        return make_client(run.writer, run.context, role="served")
    return find_served_model(run.recipe.synthesis, run.context) or load_reader(run)


def name_generator(run: Run) -> str:
    """Return the name that drafts are recorded with."""
    if run.writer is not None:
        return run.writer.name
    named = read_generator_name(run.recipe.synthesis.generator)
    return run.recipe.backbone.name if named.kind == BACKBONE else run.recipe.synthesis.generator


def name_generator_key(run: Run) -> str:
    """Return what keys of generated rows say of their writer. What vLLM serves is an input, known by its weights."""
    return run.recipe.synthesis.generator if run.writer is None else VLLM


def name_generator_inputs(run: Run) -> dict[str, Reference]:
    """Return what generated rows depend on besides their prompts: the backbone, or the model that vLLM serves. A model
    that is served elsewhere is only known by name."""
    if run.writer is not None:
        return {"writer": run.writer.identity}
    return {} if read_generator_name(run.recipe.synthesis.generator).kind == "served" else {"backbone": run.backbone}


@dataclass(frozen=True, kw_only=True)
class WritingKey:
    """What decides every row that a generator writes, besides its weights and what the row is about."""

    generator: str
    prompts_sha256: str
    max_new_tokens: int
    temperature: float = field(default=0.0, metadata=off_at(0.0))
    seed: int | None = field(default=None, metadata=OFF_AT_NONE)
    visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
    libraries: dict[str, str]


def name_written_rows(run: Run, stage: Stage, **how: Any) -> RowNames:
    """Return what names the rows that the run's generator writes; `how` are the remaining fields of `WritingKey`.

    A served model has libraries of its own; only pictures are prepared with this process's.
    """
    libraries, generator = list_libraries(), read_generator_name(run.recipe.synthesis.generator)
    if generator.kind != BACKBONE:
        libraries = {PICTURES: libraries[PICTURES]}
    key = WritingKey(generator=name_generator_key(run), libraries=libraries, **how)
    return RowNames.of(stage, key, {role: each.fingerprint for role, each in name_generator_inputs(run).items()})


def make_judge(run: Run, judge: JudgeRecipe) -> Generator:
    """Return the judge of answers: the backbone itself, or the served model that the recipe names."""
    if run.judge is not None:
        return make_client(run.judge, run.context, role="judge")
    return find_served_judge(judge, run.context) or load_reader(run)


def load_trained_encoder(run: Run, encoder: Reference) -> "MemoryEncoder":
    """Load a trained encoder on the run's backbone.

    The backbone is loaded anew, because a LoRA changes its modules for good.
    """
    return _load_encoder(encoder.uri, run.recipe.backbone, run.context.device)


@held(1)
def _load_encoder(folder: str, backbone: BackboneRecipe, device: str) -> "MemoryEncoder":
    """Load it as this worker's only encoder, whichever benchmark it answers."""
    from comem_core.memory.encoder import MemoryEncoder

    return MemoryEncoder.load(find_installed_folder(open_folder(folder)), load_for(backbone, device=device))


def load_answering(run: Run, encoder: Reference, transfer: Reference | None) -> "Answering":
    """Return what answers from an encoder's memories: its own backbone, here or in the run's engine, or the run's
    text-only reader.

    Raises ValueError for an engine that fails the control question (see `check_placement`).
    """
    if run.reader is not None:
        return load_transfer(run, encoder, transfer)
    trained = load_trained_encoder(run, encoder)
    if run.recipe.engine is None:
        return trained
    from comem_core.serving.vllm.reader import VllmReader

    return VllmReader(trained, find_engine(run.recipe.engine, run.context))


def load_transfer(run: Run, encoder: Reference, transfer: Reference | None = None) -> "TextTransfer":
    """Load an encoder with the run's text-only reader, and the trained projection, or else an untrained one."""
    from comem_core.memory.transfer import TextTransfer

    assert run.reader is not None and run.recipe.reader is not None
    trained = load_trained_encoder(run, encoder)
    reader = _load_text_reader(run.reader.uri, run.recipe.reader.name, run.recipe.backbone.dtype, run.context.device)
    if transfer is not None:
        return TextTransfer.load(transfer.folder, trained, reader)
    return TextTransfer(trained, reader, make_transfer_recipe(run))


def make_transfer_recipe(run: Run) -> TransferRecipe:
    """Decide how memories reach the run's text-only reader: as they are, or through a projection if widths differ."""
    from comem_core.backbone.loading import read_width

    assert run.reader is not None and run.recipe.reader is not None
    asked, differ = run.recipe.reader, read_width(run.backbone.folder) != read_width(run.reader.folder)
    return TransferRecipe(
        projection=asked.projection or differ, question_picture=asked.question_picture, seed=asked.seed
    )


@held(1)
def _load_text_reader(folder: str, name: str, dtype: str, device: str) -> "TextModel":
    """Load it as this worker's only text-only model."""
    import torch

    from comem_core.backbone.loading import load_text_model

    reader = load_text_model(folder, dtype=getattr(torch, dtype), device=device)
    reader.name = name
    return reader


def load_for(recipe: BackboneRecipe, *, device: str) -> "Backbone":
    """Load the backbone that a recipe names, onto a device."""
    import torch

    from comem_core.backbone.loading import load_backbone

    dtype = getattr(torch, recipe.dtype)
    return load_backbone(
        recipe.name, family=recipe.family, dtype=dtype, device=device, quantization=recipe.quantization
    )
