"""Finds the encoders to evaluate: the latest, all, or some by fingerprint, by folder or by a shipped encoder's name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comem_core.backbone.finding import hash_backbone, is_same_model
from comem_core.backbone.quantization import describe_weights
from comem_core.memory.description import DESCRIPTION, find_encoder_folder, read_description
from comem_core.memory.recipe import read_recipe
from comem_core.recipes.recipe import Recipe
from comem_core.serving.layout import Record
from tasks.engine.context import ParameterRefused, refuse_faults
from tasks.engine.stage import stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger
from tasks.run import Run
from tasks.training.encoder import ENCODER

NUM_SHOWN = 3  # fingerprints of trained encoders that a message names
LATEST, ALL = "latest", "all"


@dataclass(frozen=True, kw_only=True)
class NamedEncoder:
    """An encoder, with the name by which the user asked for it (`latest` changes with each training).

    `transfer` is the projection of its memories to a text-only reader, if there is one.
    """

    name: str
    encoder: Reference
    transfer: Reference | None = None


@stage_task(name="find-encoders", retries=0)
def find_encoders(run: Run, names: Sequence[str]) -> list[NamedEncoder]:
    """Find encoders for the run's backbone: `latest`, `all` trained here, or a fingerprint, folder or shipped name.

    Raises:
        ParameterRefused: no encoder was trained here, a name is unknown, or its encoder was trained for another
            backbone.
    """
    trained = [record for record in Store.of(run.context).list_records(ENCODER.name) if _is_for(record, run)]
    found: list[NamedEncoder] = []
    for name in names:
        if name == ALL:
            found += [NamedEncoder(name=each["fingerprint"], encoder=make_reference(each)) for each in trained]
        else:
            found.append(NamedEncoder(name=name, encoder=_find_by_name(run, name, trained)))
    if not found:
        raise ParameterRefused(_describe_none_trained(run))
    for each in found:
        get_stage_logger().info("encoder %s: %s", each.name, each.encoder.fingerprint)
    return found


def find_latest_encoder(run: Run) -> Reference:
    """Find the newest encoder that was trained for the run's backbone. Raises ParameterRefused if there is none."""
    return find_encoders(run, [LATEST])[0].encoder


def check_encoders(recipe: Recipe, names: Sequence[str], store: Store) -> None:
    """Raise ValueError for a name that no encoder has; the encoders that a run may still train are not missed."""
    trained = store.list_records(ENCODER.name)
    for name in names:
        if name not in (LATEST, ALL) and _find_trained(name, trained) is None:
            _find_folder(recipe, name, trained)


def _find_by_name(run: Run, name: str, trained: Sequence[Record]) -> Reference:
    if name == LATEST:
        if not trained:
            raise ParameterRefused(_describe_none_trained(run))
        return make_reference(trained[-1])
    if (record := _find_trained(name, trained)) is not None:
        return make_reference(record)
    with refuse_faults():
        folder = _find_folder(run.recipe, name, trained)
    return Reference(stage=ENCODER.name, fingerprint=hash_backbone(folder), uri=str(folder.absolute()), num_rows=0)


def _find_trained(name: str, trained: Sequence[Record]) -> Record | None:
    return next((each for each in trained if len(name) >= 6 and each["fingerprint"].startswith(name)), None)


def _find_folder(recipe: Recipe, name: str, trained: Sequence[Record]) -> Path:
    """Find the folder of an encoder that was not trained here. Raises ValueError if the recipe cannot use it."""
    try:
        folder = find_encoder_folder(name)
    except ValueError as error:
        known = ", ".join(record["fingerprint"] for record in trained[-NUM_SHOWN:]) or "none yet"
        raise ValueError(
            f"{error}. Others are {LATEST}, {ALL}, and the fingerprints of those that were trained here for "
            f"{recipe.backbone.name} (the last: {known})"
        ) from error
    made_for = read_description(folder)
    if made_for.backbone != recipe.backbone.name and not is_same_model(made_for.backbone, recipe.backbone.name):
        raise ValueError(
            f"the encoder in {folder} was trained for {made_for.backbone!r}, but the reader of recipe "
            f"{recipe.name} is {recipe.backbone.name!r}"
        )
    trained_in = describe_weights(made_for.backbone_dtype, made_for.backbone_quantization)
    loaded_in = describe_weights(recipe.backbone.dtype, recipe.backbone.quantization)
    if trained_in != loaded_in:
        raise ValueError(
            f"the encoder in {folder} was trained in {trained_in}, but recipe {recipe.name} loads its reader in "
            f"{loaded_in}"
        )
    return folder


def with_encoder(run: Run, encoder: Reference) -> Run:
    """Return the run with its encoder recipe replaced by the recipe of this encoder."""
    described = read_description(encoder.folder)
    return run.with_recipe(encoder=read_recipe(described.recipe, where=str(encoder.folder / DESCRIPTION)))


def _is_for(record: Record, run: Run) -> bool:
    return record["inputs"]["backbone"] == run.backbone.fingerprint


def make_reference(record: Record) -> Reference:
    return Reference(
        stage=ENCODER.name, fingerprint=record["fingerprint"], uri=record["uri"], num_rows=record["num_rows"]
    )


def _describe_none_trained(run: Run) -> str:
    place = Store.of(run.context).place
    return (
        f"no encoder for backbone {run.recipe.backbone.name} ({run.backbone.fingerprint}) in {place}; "
        "run synth-and-train with this recipe and backbone first"
    )
