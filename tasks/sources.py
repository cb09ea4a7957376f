"""What a run reads and no stage makes: the backbone, another reader or writer, their engine, and the user's corpus."""

import os
import shlex
import sys
from dataclasses import replace

from comem_core.backbone.finding import (
    IDENTITY_FILES,
    ModelMissing,
    find_backbone_folder,
    hash_backbone,
    refuse_other_family,
)
from comem_core.backbone.quantization import OFF
from comem_core.knowledge.items import hash_content_parts
from comem_core.recipes.engine import VLLM
from comem_core.recipes.recipe import BackboneRecipe, Recipe
from comem_core.serving.vllm.installed import find_vllm_version
from comem_core.synthesis.generator import GeneratorName, read_generator_name
from tasks.engine.context import Context
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.served import ServedHere, find_engine

BACKBONE = Stage(name="backbone", version="1", explained=Explanation(subject="reader"))
READER = Stage(name="reader", version="1")
WRITER = Stage(name="writer", version="1")
NO_BACKBONE = Reference(stage=BACKBONE.name, fingerprint="", uri="", num_rows=0)


def find_text_reader(recipe: Recipe) -> Reference | None:
    """Return the folder of the recipe's text-only reader, named by its weights and their number type.

    Raises ValueError where its config.json is not that of a text-only model.
    """
    if recipe.reader is None:
        return None
    from comem_core.backbone.text import TextModel  # imports transformers, which other runs do not need here

    folder = find_backbone_folder(recipe.reader.name)
    TextModel.check(folder)
    name = _name_model(READER, "text-only", recipe.backbone.dtype, hash_backbone(folder))
    return Reference(stage=READER.name, fingerprint=name, uri=str(folder.absolute()), num_rows=0)


def name_engine(recipe: Recipe, backbone: Reference, context: Context) -> Reference | None:
    """Return the recipe's engine, named by its version and the backbone. Whether it reads memory as the backbone does
    here is asked in each worker, which has the encoder.

    Raises ValueError or ServerGone where no such server answers; ValueError where the recipe's backbone is quantised.
    """
    if recipe.engine is None:
        return None
    if recipe.backbone.quantization != OFF:
        raise ValueError(
            f"the server at {recipe.engine.url} reads with the whole backbone, but the encoder's is in "
            f"{recipe.backbone.quantization}: without reader, the backbone itself reads; or set quantization = {OFF!r}"
        )
    found = find_engine(recipe.engine, context).engine
    name = _name_model(READER, recipe.engine.name, found.version, backbone.fingerprint)
    return Reference(stage=READER.name, fingerprint=name, uri=recipe.engine.url, num_rows=0)


def list_vllm_generators(recipe: Recipe) -> list[GeneratorName]:
    """List the writer and the judge of a recipe that the run serves itself."""
    judge = recipe.evaluation.judge
    named = [recipe.synthesis.generator, *([judge.generator] if judge else [])]
    return [found for found in map(read_generator_name, named) if found.kind == VLLM]


def find_served_here(
    generator: str, recipe: Recipe, backbone: Reference, context: Context, *, plan: bool
) -> ServedHere | None:
    """Return a model that the run serves itself with vLLM, named by its weights, their number type and vLLM's version;
    None for another kind of generator. A plan goes on without weights that are not here.

    Raises ValueError where the interpreter has no vLLM, the model is not found, or COMEM_VLLM_ARGS cannot be read.
    """
    named = read_generator_name(generator)
    if named.kind != VLLM:
        return None
    version = find_vllm_version(context.vllm_python or sys.executable)
    model = named.model or recipe.backbone.name
    if recipe.backbone.quantization != OFF:
        get_stage_logger().warning(
            "quantization=%s has no effect on %s: vLLM holds %s whole, in %s",
            recipe.backbone.quantization, generator, model, recipe.backbone.dtype,
        )  # fmt: skip
    if model != recipe.backbone.name:
        weights = _name_weights(model, recipe, plan=plan)
    elif recipe.backbone.quantization == OFF or not backbone.uri:
        weights = backbone.fingerprint
    else:
        weights = find_backbone(replace(recipe.backbone, quantization=OFF), download=False).fingerprint
    name = _name_model(WRITER, VLLM, version, weights)
    identity = Reference(stage=WRITER.name, fingerprint=name, uri="", num_rows=0)
    return ServedHere(model=model, version=version, identity=identity, further=_read_arguments(context.vllm_args))


def _read_arguments(given: str | None) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(given or ""))
    except ValueError as error:
        raise ValueError(f"COMEM_VLLM_ARGS is {given!r} ({error}); expected arguments as in a shell") from error


def _name_weights(model: str, recipe: Recipe, *, plan: bool) -> str:
    try:
        return hash_content_parts(recipe.backbone.dtype, hash_backbone(find_backbone_folder(model, download=not plan)))
    except ModelMissing:
        if not plan:
            raise
        return model


def find_run_backbone(recipe: Recipe) -> tuple[Reference, list[str]]:
    """Return the backbone, and what a plan says of it, which goes on without weights that are not here: no address."""
    try:
        return find_backbone(recipe.backbone, download=False), []
    except ModelMissing as missing:
        without = replace(NO_BACKBONE, fingerprint=recipe.backbone.name)
        return without, [
            f"{missing}. This plan is made without the weights, so nothing made with them counts as reused"
        ]


def find_backbone(recipe: BackboneRecipe, *, download: bool = True) -> Reference:
    """Return the backbone's folder, named by its weights and how they are held: both decide every result."""
    folder = find_backbone_folder(recipe.name, download=download)
    refuse_other_family(recipe.name, recipe.family)
    further = [] if recipe.quantization == OFF else [recipe.quantization]
    name = _name_model(BACKBONE, recipe.family, recipe.dtype, hash_backbone(folder), *further)
    return Reference(stage=BACKBONE.name, fingerprint=name, uri=str(folder), num_rows=0)


def describe_sources(recipe: Recipe, vllm_python: str | None = None) -> dict[str, str]:
    """Describe what a recipe reads as this machine has it: models by names and sizes of their files, a corpus, vLLM."""
    served = list_vllm_generators(recipe)
    names = [recipe.backbone.name, *([recipe.reader.name] if recipe.reader else [])]
    names += [each.model for each in served if each.model]
    described = {f"the model {name}": _describe_model(name) for name in names}
    if served:
        described["vLLM"] = _describe_vllm(vllm_python or sys.executable)
    if os.path.isabs(recipe.knowledge.corpus):
        is_there = os.path.exists(recipe.knowledge.corpus)
        described[f"the corpus {recipe.knowledge.corpus}"] = "there" if is_there else "not there"
    return described


def _describe_vllm(python: str) -> str:
    try:
        return find_vllm_version(python)
    except ValueError as error:
        return f"not there ({error})"


def _describe_model(name: str) -> str:
    try:
        folder = find_backbone_folder(name)
    except ValueError as error:
        return f"not there ({error})"
    files = sorted(path for pattern in IDENTITY_FILES for path in folder.glob(pattern))
    sizes = ", ".join(f"{path.name} {path.stat().st_size}" for path in files)
    return f"{len(files)} files ({hash_content_parts(sizes)})"


def _name_model(declared: Stage, *parts: str) -> str:
    """Name a model by what decides what it says, and by the version of how we load it (1 needs no mention)."""
    return hash_content_parts(*parts, *([] if declared.version == "1" else [declared.version]))
