"""Training of the memory encoder: LoRA and Q-Former learn from the kept samples; the reader is frozen.

`tasks.engine.training.on_ray_train` runs it on Ray.
"""

from collections.abc import Sequence
from functools import partial as bind
from pathlib import Path
from typing import TYPE_CHECKING

from comem_core.backbone.finding import find_installed_folder, hash_backbone
from comem_core.memory.description import DESCRIPTION, WEIGHTS, Description, find_encoder_folder, read_description
from comem_core.memory.recipe import list_other_shape, read_recipe
from comem_core.recipes.recipe import Recipe
from comem_core.serving.layout import ENCODER_STAGE
from comem_core.training.recipe import ComputeOptions
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import say
from tasks.engine.training.on_ray_train import train_on_ray
from tasks.models import load_for
from tasks.rows.samples import Samples, SampleSet
from tasks.run import Run

if TYPE_CHECKING:
    from tasks.engine.training.train_worker import Trainee

# Python's own work on a part is done by one thread at a time. On two cores, two parts measured fastest (docs/log.md).
MOST_PARTS = 4

ENCODER = Stage(
    name=ENCODER_STAGE,
    version="3",
    table="training_step",
    explained=Explanation(
        caption="Only the encoder is trained: it learns to make memories from which the unchanged model gives the "
        "sample's answer. The lower the loss, the more the model expects that answer."
    ),
)


@stage_task(name="train-encoder", retries=0)  # dead workers are replaced, and training goes on at the last checkpoint
def train_encoder(run: Run, knowledge: Reference, sets: Sequence[SampleSet], start: Reference | None) -> Reference:
    """Train the memory encoder on the kept samples of every set, starting from another encoder or random weights."""
    samples = Samples(knowledge=knowledge, sets=tuple(sets))
    recipe = run.recipe.training

    def make(artefact: Partial) -> None:
        samples.refuse_none()
        build = bind(_make_trainee, run, samples, start)
        files = (WEIGHTS, DESCRIPTION)
        train_on_ray(run, artefact, recipe.optimizer, build, files=files, parameters=run.recipe_fields)

    inputs, steps = {"backbone": run.backbone} | samples.inputs, recipe.optimizer.num_steps
    if start:
        inputs["start"] = start
    return run_stage(run, ENCODER, recipe, inputs, make, expects=steps)


def _make_trainee(run: Run, samples: Samples, start: Reference | None, rank: int, num_ranks: int) -> "Trainee":
    """Load what a training worker trains; only there torch is imported."""
    from comem_core.memory.encoder import MemoryEncoder
    from comem_core.training.memory import AnswerFromMemory
    from tasks.engine.training.train_worker import Trainee

    recipe = run.recipe.training
    compute = make_compute_options(run.context)
    loaded = load_for(run.recipe.backbone, device="cpu" if compute.sharded else run.context.device)
    encoder = MemoryEncoder(loaded, recipe.encoder)
    if start:
        encoder.start_from(find_installed_folder(start.folder))
    if compute.sharded:
        from comem_core.training.sharding import shard_encoder

        shard_encoder(encoder, run.context.device)
    objective = AnswerFromMemory(encoder, recipe, samples.read(), rank=rank, num_ranks=num_ranks, compute=compute)

    def save(folder: Path) -> None:
        encoder.set_trainable(False)
        encoder.save(folder)

    return Trainee(objective=objective, frozen=(encoder.backbone,), save=save, proof=run.context.train_proof)


def make_compute_options(context: Context) -> ComputeOptions:
    """Return how training computes its steps in this process, with as many threads as torch has for it."""
    import torch

    return ComputeOptions(
        parts=min(MOST_PARTS, torch.get_num_threads()) if context.device == "cpu" else 1,
        tokens_at_once=context.train_tokens,
        gradient_checkpointing=context.train_checkpointing == "on",
        sharded=context.train_sharding == "on",
    )


def refuse_other_name(made_for: Description, backbone: str, *, where: str) -> None:
    """Raise ValueError if an encoder was trained for a backbone of another name.

    A folder may hold the backbone of any name: then its weights are compared when it is loaded.
    """
    if made_for.backbone != backbone and not Path(backbone).is_dir() and not Path(made_for.backbone).is_absolute():
        raise ValueError(
            f"{where} was trained for the backbone {made_for.backbone!r}, but this recipe trains for {backbone!r}; "
            f"name an encoder of {backbone!r}, or the recipe of {made_for.backbone!r}"
        )


@stage_task(name="find-start", retries=0)
def find_start(run: Run, folder: str | None = None) -> Reference | None:
    """Find the encoder that training starts from, named by its weights: `folder`, or else the recipe's.

    None means random weights.

    Raises:
        ValueError: as `check_start`.
    """
    if (found := check_start(run.recipe, folder)) is None:
        say("training starts from random weights")
        return None
    return Reference(stage="encoder-start", fingerprint=hash_backbone(found), uri=str(found.absolute()), num_rows=0)


def check_start(recipe: Recipe, folder: str | None = None) -> Path | None:
    """Return the folder of the encoder that training starts from; None means random weights.

    Raises:
        ValueError: the folder has no encoder, it was trained for another backbone or number type, or its shape is not
            the recipe's.
    """
    name, wanted = folder or recipe.training.start, recipe.training.encoder
    if name is None:
        return None
    found = find_encoder_folder(name)
    made_for = read_description(found)
    refuse_other_name(made_for, recipe.backbone.name, where=f"the encoder in {found}")
    has = read_recipe(made_for.recipe, where=str(found / DESCRIPTION))
    other = list_other_shape(has, wanted)
    other.append(("number type", made_for.backbone_dtype, recipe.backbone.dtype))
    other.append(("quantisation", made_for.backbone_quantization, recipe.backbone.quantization))
    if said := ", ".join(f"{each} {before} (the recipe: {now})" for each, before, now in other if before != now):
        raise ValueError(f"training of {recipe.name} cannot start from the encoder in {found}: it has {said}")
    return found
