"""Training: LoRA and Q-Former of the encoder on Ray Train, the reader frozen. Killed at any point, it goes on there.

The run's name is its fingerprint, so the same training finds its own checkpoints again. Checkpoints hold the encoder's
own weights, the optimizer and the step; batches and random state are functions of the step.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ray import train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from comem_core.backbone.loading import backbone_fingerprint
from comem_core.memory.checkpoint import DESCRIPTION, WEIGHTS, encoder_folder, read_description
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.encoding import recipe_from
from comem_core.training.loop import StepReport, Training
from comem_core.training.memory import AnswerFromMemory, TrainingRecipe
from tasks.models import load_for
from tasks.on_ray import release_workers
from tasks.partial import Partial
from tasks.run import Run
from tasks.samples import Samples, SampleSet
from tasks.stage import run_stage, stage_logger, stage_task
from tasks.store import Reference
from warehouse.schemas import check_rows

STEPS = "part-00000"
CHECKPOINTS = ".ray-train"
PROGRESS = ".progress.json"
SAVE_EVERY = 50
SHOW_EVERY_SECONDS = 5.0
SHAPE = ("num_vectors", "lora_rank", "lora_alpha", "num_heads", "num_rounds", "reads_embeddings")


@stage_task(name="train-encoder", retries=0)  # Ray Train restarts dead workers itself, from the last checkpoint
def train_encoder(run: Run, knowledge: Reference, sets: Sequence[SampleSet], start: Reference | None) -> Reference:
    """Train the memory encoder on the kept samples of every set, from another encoder's weights or from random ones."""
    samples = Samples(knowledge=knowledge, sets=tuple(sets))

    def make(artefact: Partial) -> None:
        if not samples.num_kept:
            raise ValueError(
                "no draft was kept, so there is nothing to train on; the funnel says why they were dropped"
            )
        if {WEIGHTS, DESCRIPTION, STEPS} <= artefact.finished():
            return
        release_workers()
        with _progress_shown(artefact, run.recipe.training):
            _fit(run, artefact, samples, start)
        shutil.rmtree(artefact.folder / CHECKPOINTS, ignore_errors=True)  # the finished encoder is all that is kept
        (artefact.folder / PROGRESS).unlink(missing_ok=True)

    inputs, steps = {"backbone": run.backbone} | samples.inputs, run.recipe.training.optimizer.num_steps
    if start:
        inputs["start"] = start
    return run_stage(
        run, "encoder", run.recipe.training, inputs, make, table="training_step", version="2", expects=steps
    )


@stage_task(name="find-start", retries=0)
def find_start(run: Run, folder: str | None = None) -> Reference | None:
    """Find the encoder that training starts from, a folder or the recipe's, named by its weights; None: random weights.

    Raises:
        ValueError: there is no encoder, or one of another shape than the recipe trains.
    """
    name, wanted = folder or run.recipe.training.start, run.recipe.training.encoder
    if name is None:
        return None
    found = encoder_folder(name)
    has = recipe_from(read_description(found).recipe, where=str(found / DESCRIPTION))
    if other := [each for each in SHAPE if getattr(has, each) != getattr(wanted, each)]:
        said = ", ".join(f"{each} {getattr(has, each)} (the recipe: {getattr(wanted, each)})" for each in other)
        raise ValueError(f"the encoder in {found} cannot be the start of {run.recipe_name}: it has {said}")
    return Reference(
        stage="encoder-start", fingerprint=backbone_fingerprint(found), uri=str(found.absolute()), num_rows=0
    )


def _fit(run: Run, artefact: Partial, samples: Samples, start: Reference | None) -> None:
    context = run.context
    trainer = TorchTrainer(
        _train_on_worker,
        train_loop_config={"run": run, "artefact": artefact, "samples": samples, "start": start},
        scaling_config=ScalingConfig(
            num_workers=context.train_workers,
            use_gpu=context.device == "cuda",
        ),
        run_config=RunConfig(
            name="training",  # its folder is the artefact's own, and that is named by the fingerprint
            storage_path=str(artefact.folder / CHECKPOINTS),
            failure_config=FailureConfig(max_failures=2),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    trainer.fit()


def _train_on_worker(config: dict[str, Any]) -> None:
    """On each training worker: build, continue from the last checkpoint if there is one, train, and save."""
    run: Run = config["run"]
    artefact: Partial = config["artefact"]
    recipe, world = run.recipe.training, train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.get_world_size()))
    encoder = MemoryEncoder(load_for(run.recipe.backbone, device=run.context.device), recipe.encoder)
    if start := config["start"]:
        encoder.start_from(start.folder)
    objective = AnswerFromMemory(
        encoder, recipe, config["samples"].read(), rank=world.get_world_rank(), num_ranks=world.get_world_size()
    )
    untouched = encoder.backbone.base_weights_sha256()
    training, steps = Training(objective, recipe.optimizer), []
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt", weights_only=True)
        training.load(state["training"])
        steps = state["steps"]
    is_first = world.get_world_rank() == 0

    def on_step(report: StepReport) -> None:
        row = asdict(report)
        steps.append({name: row[name] for name in ("step", "loss", "learning_rate", "samples", "tokens", "seconds")})
        if is_first:
            (artefact.folder / PROGRESS).write_text(json.dumps(steps[-1]))

    while not training.done:
        training.run(on_step, until=(training.step // SAVE_EVERY + 1) * SAVE_EVERY)
        _report(training, steps, is_first=is_first)
    if encoder.backbone.base_weights_sha256() != untouched:
        raise AssertionError("training has changed the reader's own weights")
    if is_first:
        _save(encoder, steps, artefact)


def _report(training: Training, steps: list[dict[str, Any]], *, is_first: bool) -> None:
    """Give Ray Train a checkpoint to resume from; one worker's is enough, their weights are equal."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if is_first:
            torch.save({"training": training.state(), "steps": steps}, Path(folder) / "state.pt")
            checkpoint = Checkpoint.from_directory(folder)
        train.report({"step": training.step, "loss": steps[-1]["loss"]}, checkpoint=checkpoint)


def _save(encoder: MemoryEncoder, steps: list[dict[str, Any]], artefact: Partial) -> None:
    encoder.set_trainable(False)
    with tempfile.TemporaryDirectory() as folder:
        encoder.save(Path(folder))
        for name in (WEIGHTS, DESCRIPTION):
            with artefact.open_file(name) as path:
                path.write_bytes((Path(folder) / name).read_bytes())
    artefact.write_shard(STEPS, check_rows("training_step", steps))


@contextmanager
def _progress_shown(artefact: Partial, recipe: TrainingRecipe) -> Iterator[None]:
    """Log step, loss, rate and remaining time while the workers train."""
    ended, logger = threading.Event(), stage_logger()
    (artefact.folder / PROGRESS).unlink(missing_ok=True)  # what an earlier attempt left

    def follow() -> None:
        started = last = None
        while not ended.wait(SHOW_EVERY_SECONDS):
            try:
                now = json.loads((artefact.folder / PROGRESS).read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            if started is None:
                started = (time.monotonic(), now["step"])
            if now["step"] != last:
                last = now["step"]
                rate = (last - started[1]) / max(1e-9, time.monotonic() - started[0])
                remain = f", {(recipe.optimizer.num_steps - last) / rate:.0f} s remain" if rate > 0 else ""
                logger.info("step %d of %d, loss %.3f%s", last, recipe.optimizer.num_steps, now["loss"], remain)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()
