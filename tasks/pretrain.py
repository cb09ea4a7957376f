"""Pretraining of the tiny base model as one stage: a resumable state in the artefact, then the model itself."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from prefect import task

from comem_core.backbone.loading import SHIPPED, backbone_fingerprint
from comem_core.training.loop import StepReport
from comem_core.training.pretraining import PretrainingRecipe
from comem_core.training.tiny_base import pretrain, save_tiny_base
from tasks.on_ray import on_ray, release_workers
from tasks.partial import Partial
from tasks.run import Run
from tasks.stage import code_commit, run_stage, stage_logger, stage_task
from tasks.store import Reference
from warehouse.schemas import check_rows

STATE, MODEL, STEPS = ".state.pt", "model", "part-00000"
COLUMNS = ("step", "loss", "learning_rate", "samples", "tokens", "seconds")


@stage_task(name="pretrain-base-model")
def pretrain_base_model(run: Run, *, num_steps: int | None = None) -> Reference:
    """Pretrain the base model on one worker."""
    recipe = PretrainingRecipe()
    if num_steps is not None:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, num_steps=num_steps))

    def make(artefact: Partial) -> None:
        release_workers()
        on_ray(_pretrain_on_worker, recipe, artefact)

    return run_stage(run, "base", recipe, {}, make, table="training_step", version="1")


def _pretrain_on_worker(recipe: PretrainingRecipe, artefact: Partial) -> None:
    torch.set_num_threads(torch.get_num_threads())
    steps_file = artefact.folder / ".steps.jsonl"
    backbone = pretrain(recipe, artefact.folder / STATE, _step_writer(steps_file, recipe.optimizer.num_steps))
    rows = {row["step"]: row for row in map(json.loads, steps_file.read_text().splitlines())}  # the last word counts
    with artefact.open_folder(MODEL) as folder:
        save_tiny_base(backbone, folder)
    artefact.write_shard(STEPS, check_rows("training_step", [rows[step] for step in sorted(rows)]))


def _step_writer(path: Path, num_steps: int, *, every: int = 50) -> Callable[[StepReport], None]:
    """Append each step to a file, and log now and then."""
    logger = stage_logger()

    def on_step(report: StepReport) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({name: asdict(report)[name] for name in COLUMNS}) + "\n")
        if report.step % every == 0:
            measures = ", ".join(f"{name} {value:.3f}" for name, value in report.measures.items())
            remain = (num_steps - report.step) * report.seconds / 60
            logger.info(
                "step %d of %d, loss %.3f, %s, %.0f min remain", report.step, num_steps, report.loss, measures, remain
            )

    return on_step


@task(name="install-base")
def install_base(run: Run, base: Reference) -> None:
    """Copy a pretrained base to where the project ships it from, with a note of how it was made."""
    target = SHIPPED / "tiny"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base.folder / MODEL, target)
    note = {
        "made_by": "prefect deployment run pretrain-base/tiny-cpu -p install=true",
        "artefact": base.fingerprint,
        "backbone": backbone_fingerprint(target),
        "recipe": asdict(PretrainingRecipe()),
        "commit": code_commit(),
        "installed": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (target / "record.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    stage_logger().info("installed %s as the shipped tiny base", base.fingerprint)
