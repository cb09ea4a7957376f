"""Training of the projection between an encoder and a text-only reader of another width."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial as bind
from typing import TYPE_CHECKING

from comem_core.evaluation.conditions import find_condition
from comem_core.memory.transfer_recipe import DESCRIPTION, WEIGHTS, TransferRecipe
from comem_core.training.recipe import TrainingRecipe
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import say
from tasks.engine.training.on_ray_train import train_on_ray
from tasks.models import load_transfer, make_transfer_recipe
from tasks.rows.samples import Samples, SampleSet
from tasks.run import Run
from tasks.training.encoder import make_compute_options
from tasks.training.encoders import NamedEncoder, with_encoder
from tasks.training.fitting import refuse_uneven_shares
from tasks.training.training_data import find_samples

if TYPE_CHECKING:
    from tasks.engine.training.train_worker import Trainee

TRANSFER = Stage(
    name="transfer",
    version="2",
    table="training_step",
    explained=Explanation(
        subject="projection to the reader",
        essential=True,
        caption="The text-only reader has another width than the encoder's model, so a linear map between the two "
        "was trained on the same samples; encoder and reader were not changed.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class TransferKey:
    """What decides a projection besides the encoder, the reader and the samples."""

    transfer: TransferRecipe
    training: TrainingRecipe


@stage_task(name="train-transfer", retries=0)  # as train-encoder
def train_transfer(
    run: Run, encoder: Reference, knowledge: Reference | None = None, sets: Sequence[SampleSet] = ()
) -> Reference | None:
    """Train the projection on the encoder's own training samples: the given ones, or those in its record.

    Returns None if there is nothing to train: the backbone itself reads, memories fit the reader as they are, or no
    condition shows a memory.

    Raises:
        ValueError: a projection is needed, but the encoder's training samples are not known.
    """
    reader, recipe = run.recipe.reader, run.recipe.training
    shown = any(find_condition(name).place == "memory" for name in run.recipe.evaluation.conditions)
    if reader is None or run.reader is None or not shown or not make_transfer_recipe(run).projection:
        return None
    samples = (
        Samples(knowledge=knowledge, sets=tuple(sets)) if knowledge else find_samples(Store.of(run.context), encoder)
    )
    training = replace(recipe, start=None, optimizer=reader.optimizer or recipe.optimizer)
    key = TransferKey(transfer=make_transfer_recipe(run), training=training)

    def make(artefact: Partial) -> None:
        samples.refuse_none()
        refuse_uneven_shares(run, training.optimizer)
        if run.context.train_sharding == "on":
            say("COMEM_TRAIN_SHARDING has no effect here: each worker holds encoder and reader whole")
        build = bind(_make_trainee, run, encoder, samples, training)
        fields = run.recipe_fields | {"training": asdict(training)}
        train_on_ray(run, artefact, training.optimizer, build, files=(WEIGHTS, DESCRIPTION), parameters=fields)

    inputs = {"backbone": run.backbone, "reader": run.reader, "encoder": encoder} | samples.inputs
    steps = training.optimizer.num_steps
    return run_stage(run, TRANSFER, key, inputs, make, expects=steps)


def with_transfer(run: Run, named: NamedEncoder) -> NamedEncoder:
    """Return the encoder with its projection to the run's reader, which is trained if one is needed."""
    return replace(named, transfer=train_transfer(with_encoder(run, named.encoder), named.encoder))


def _make_trainee(
    run: Run, encoder: Reference, samples: Samples, training: TrainingRecipe, rank: int, num_ranks: int
) -> "Trainee":
    """Load what a training worker trains; only there torch is imported."""
    from comem_core.training.transfer import AnswerThroughTransfer
    from tasks.engine.training.train_worker import Trainee

    transfer = load_transfer(run, encoder)
    objective = AnswerThroughTransfer(
        transfer,
        training,
        samples.read(),
        rank=rank,
        num_ranks=num_ranks,
        compute=replace(make_compute_options(run.context), sharded=False),
    )
    frozen = (transfer.reader, transfer.encoder.backbone)
    return Trainee(objective=objective, frozen=frozen, save=transfer.save, proof=run.context.train_proof)
