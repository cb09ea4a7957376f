"""Pretraining of the tiny base model and of its encoder's start. Interrupted training resumes where it stopped."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from comem_core.backbone.finding import SHIPPED, hash_backbone
from comem_core.measures.provenance import find_commit
from comem_core.pretraining.base_recipe import PretrainingRecipe, make_finding_recipe, make_ranking_recipe
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.pretraining.trained_on import COMMAND as LISTING
from comem_core.pretraining.trained_on import START as SHIPPED_START
from comem_core.pretraining.trained_on import list_start
from comem_core.tracking.choosing import TrackedTraining
from comem_core.tracking.delivery import deliver_steps
from comem_core.tracking.steps import StepWatch, describe_step, measure_pace
from comem_core.training.reports import StepReport
from tasks.engine.context import GPU_DEFAULTS, Context, RunRef
from tasks.engine.on_ray import release_workers, run_on_ray
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger, say
from tasks.engine.training.on_ray_train import name_tracked
from tasks.run import Run
from warehouse.schemas import check_rows

if TYPE_CHECKING:
    from comem_core.backbone.qwen_vl import QwenVL

BASE = Stage(name="base", version="1", table="training_step")
ENCODER_START = Stage(name="encoder-start", version="1", table="training_step")
STATE, STEPS_SO_FAR, MODEL, STEPS = ".state.pt", ".steps.jsonl", "model", "part-00000"
PUT_EVERY_SECONDS = 30.0
SHIPPED_BASE = "tiny"
WITHOUT_EFFECT = {
    name: f"COMEM_{name.upper()}" for name in ("train_workers", "train_sharding", "train_tokens", "train_checkpointing")
}
DEFAULTS = {each.name: each.default for each in fields(Context)}
COMMAND = "prefect deployment run pretrain-base/tiny-cpu -p install=true"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """How a shipped model was made."""

    made_by: str
    artefact: str
    fingerprint: str
    recipes: list[dict[str, Any]]
    commit: str | None
    installed: str


@stage_task(name="pretrain-base-model")
def pretrain_base_model(run: Run, recipe: PretrainingRecipe) -> Reference:
    """Pretrain the base model on one worker."""

    def make(artefact: Partial) -> None:
        pretrain_on_ray(run, artefact, recipe, _pretrain_base)

    return run_stage(run, BASE, recipe, {}, make)


@stage_task(name="pretrain-base-further")
def pretrain_base_further(run: Run, base: Reference, recipe: PretrainingRecipe) -> Reference:
    """Pretrain a finished base model further with another recipe, on one worker."""

    def make(artefact: Partial) -> None:
        pretrain_on_ray(run, artefact, recipe, _pretrain_further, base.folder / MODEL)

    return run_stage(run, BASE, recipe, {"base": base}, make)


@stage_task(name="pretrain-encoder-start")
def pretrain_encoder_start(run: Run, base: Reference, recipe: EncoderPretrainingRecipe) -> Reference:
    """Pretrain the encoder's start on the finished base model, on one worker."""

    def make(artefact: Partial) -> None:
        pretrain_on_ray(run, artefact, recipe, _pretrain_encoder, base.folder / MODEL)

    return run_stage(run, ENCODER_START, recipe, {"base": base}, make)


def pretrain_on_ray(run: RunRef, artefact: Partial, recipe: Any, work: Callable[..., None], *further: Path) -> None:
    """Call `work(recipe, artefact, tracked, *further)` on one worker, and say which settings have no effect on it."""
    context = run.context
    changed = [
        setting
        for name, setting in WITHOUT_EFFECT.items()
        if getattr(context, name) not in (DEFAULTS[name], GPU_DEFAULTS.get(name))
    ]
    if changed:
        say(f"{' and '.join(changed)} have no effect here: one worker computes each batch at once, on the CPU")
    release_workers()
    run_on_ray(work, recipe, artefact, name_tracked(run, artefact, asdict(recipe)), *further)


def _pretrain_base(recipe: PretrainingRecipe, artefact: Partial, tracked: TrackedTraining | None) -> None:
    """Enter a worker; only there, as in the functions below, torch is imported."""
    from comem_core.pretraining.tiny_base import pretrain

    with write_steps(artefact, recipe.optimizer.num_steps, tracked) as on_step:
        backbone = pretrain(recipe, artefact.folder / STATE, on_step)
    _finish_base(backbone, artefact)


def _pretrain_further(
    recipe: PretrainingRecipe, artefact: Partial, tracked: TrackedTraining | None, base: Path
) -> None:
    from comem_core.backbone.qwen_vl import QwenVL
    from comem_core.pretraining.tiny_base import go_on

    with write_steps(artefact, recipe.optimizer.num_steps, tracked) as on_step:
        backbone = go_on(recipe, QwenVL.load(base), artefact.folder / STATE, on_step)
    _finish_base(backbone, artefact)


def _finish_base(backbone: "QwenVL", artefact: Partial) -> None:
    from comem_core.pretraining.tiny_base import save_tiny_base

    with artefact.open_folder(MODEL) as folder:
        save_tiny_base(backbone, folder)
    _finish_steps(artefact)


def _pretrain_encoder(
    recipe: EncoderPretrainingRecipe, artefact: Partial, tracked: TrackedTraining | None, base: Path
) -> None:
    from comem_core.backbone.qwen_vl import QwenVL
    from comem_core.pretraining.tiny_base import pretrain_encoder

    with write_steps(artefact, recipe.optimizer.num_steps, tracked) as on_step:
        encoder = pretrain_encoder(recipe, QwenVL.load(base), artefact.folder / STATE, on_step)
    encoder.backbone.name = SHIPPED_BASE
    with artefact.open_folder(MODEL) as folder:
        encoder.save(folder)
    _finish_steps(artefact)


@contextmanager
def write_steps(
    artefact: Partial, num_steps: int, tracked: TrackedTraining | None, *, every: int = 50
) -> Iterator[Callable[[StepReport], None]]:
    """Yield a function that appends each step to a file, logs every few steps, and hands them to the tracker."""
    logger, watch, last_put = get_stage_logger(), StepWatch(num_steps, device="cpu"), time.monotonic()
    artefact.take(STEPS_SO_FAR, STATE)
    with deliver_steps(tracked, logger.log) as delivery:
        for row in _read_steps(artefact):
            delivery.add(row["step"], measure_pace(row))

        def on_step(report: StepReport) -> None:
            with (artefact.folder / STEPS_SO_FAR).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(report.row) + "\n")
            nonlocal last_put
            if time.monotonic() - last_put >= PUT_EVERY_SECONDS:
                artefact.put(STEPS_SO_FAR, STATE)  # in this order: there is never a state whose steps are missing
                last_put = time.monotonic()
            measures = watch.measure(report)
            delivery.add(report.step, measures)
            if report.step % every == 0:
                others = "".join(f", {name} {value:.3f}" for name, value in report.measures.items())
                logger.info("%s%s", describe_step(report.step, num_steps, measures), others)

        yield on_step
        delivery.outcome = "finished"


def _read_steps(artefact: Partial) -> list[dict[str, Any]]:
    """Read the rows of the steps so far; if a step was done twice (before and after a kill), the last one counts."""
    path = artefact.folder / STEPS_SO_FAR
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = {row["step"]: row for row in map(json.loads, lines)}
    return [rows[step] for step in sorted(rows)]


def _finish_steps(artefact: Partial) -> None:
    artefact.write_shard(STEPS, check_rows("training_step", _read_steps(artefact)))


@task(name="install-models")
def install_models(base: Reference, encoder: Reference) -> None:
    """Copy the base and the encoder's start into the folder of shipped models, each with a note of how it was made."""
    courses = {
        SHIPPED_BASE: (base, [PretrainingRecipe(), make_finding_recipe(), make_ranking_recipe()]),
        SHIPPED_START: (encoder, [EncoderPretrainingRecipe()]),
    }
    for name, (artefact, recipes) in courses.items():
        target = SHIPPED / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(artefact.folder / MODEL, target)
        note = Installed(
            made_by=COMMAND,
            artefact=artefact.fingerprint,
            fingerprint=hash_backbone(target),
            recipes=[asdict(recipe) for recipe in recipes],
            commit=find_commit(),
            installed=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        (target / "record.json").write_text(json.dumps(asdict(note), indent=2) + "\n", encoding="utf-8")
        get_stage_logger().info("installed %s from %s", name, artefact.fingerprint)
    get_stage_logger().info("listing what %s was trained on (minutes)", SHIPPED_START)
    list_start(SHIPPED / SHIPPED_START, EncoderPretrainingRecipe())
    get_stage_logger().warning(
        "tiny-encoder was trained on the earlier base: run synth-and-train, copy its encoder there, and list the data "
        f"that it was trained on (`{LISTING}`)"
    )
