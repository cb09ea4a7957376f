"""What a training worker does: builds, continues from the last checkpoint, trains, reports and saves.

Only training workers import this module: it needs torch, and Ray Train, which brings pandas.
"""

import json
import logging
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path
from typing import Any

import torch
from ray import train
from ray.train.torch import TorchTrainer
from torch import distributed

from comem_core.backbone.reader import Reader
from comem_core.memory.frozen import FrozenWeights, Proof
from comem_core.tracking.delivery import deliver_steps
from comem_core.tracking.steps import StepWatch, measure_pace
from comem_core.tracking.trackers import Outcome
from comem_core.training.loop import Objective, Training
from comem_core.training.reports import NotFiniteError, SampleRefused, StepReport
from comem_core.training.workers import is_distributed, sum_over_workers
from tasks.engine.partial import Partial
from tasks.engine.training.on_ray_train import CHECKPOINT, FAILED, PROGRESS, REFUSED, STEPS, STOP, leave_line
from warehouse.schemas import check_rows

TELL_EVERY_SECONDS = 2.0  # the run's log shows a step every 5; writing each one took 1.6 ms
SAVE_EVERY_SECONDS = 20.0
KEPT_CHECKPOINTS = 2  # the newest may be torn, as on a network disk whose server went away
SAVE_SHARE = 0.05  # of the time may go into checkpoints; with the paper's encoder one is 2.8 GB


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """What one worker trains: an objective, the models whose own weights must stay as they are, how the result is
    written into a folder, and how it is shown that those weights have stayed."""

    objective: Objective
    frozen: tuple[Reader, ...]
    save: Callable[[Path], object]
    proof: Proof = "sampled"


def train_alone(config: dict[str, Any]) -> None:
    """Train in this process, one of the stages' workers, by Ray Train's local mode."""
    threads = torch.get_num_threads()
    try:
        scaling = train.ScalingConfig(num_workers=0)
        TorchTrainer(train_on_worker, train_loop_config=config, scaling_config=scaling).fit()
    finally:
        torch.set_num_threads(threads)


def train_on_worker(config: dict[str, Any]) -> None:
    """On each training worker: build, continue from the last checkpoint if there is one, train, and save."""
    artefact: Partial = config["artefact"]
    world = train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.get_world_size()))
    is_first = world.get_world_rank() == 0
    trainee: Trainee = config["build"](world.get_world_rank(), world.get_world_size())
    untouched = [FrozenWeights.of(reader, proof=trainee.proof) for reader in trainee.frozen]
    if not _is_possible(trainee.objective, artefact, world.get_world_rank()):
        return
    training, steps = Training(trainee.objective, config["optimizer"]), []
    if (state := find_checkpoint(artefact, is_first=is_first)) is not None:
        training.load(state["training"])
        steps = state["steps"]
    watch, told_at = _start_watch(training, world.get_world_size()), -TELL_EVERY_SECONDS
    with deliver_steps(config["tracked"] if is_first else None, bind(leave_line, artefact)) as delivery:
        for row in steps:  # a tracker that lacks some of them, for its server was gone, gets them now
            delivery.add(row["step"], measure_pace(row))

        def on_step(report: StepReport) -> None:
            nonlocal told_at
            steps.append(report.row)
            measures = watch.measure(report)
            if not is_first:
                return
            delivery.add(report.step, measures)
            if training.done or time.monotonic() - told_at >= TELL_EVERY_SECONDS:
                told_at = time.monotonic()
                artefact.post(PROGRESS, json.dumps({"step": report.step, "measures": measures}))

        delivery.outcome = outcome = _run_steps(training, on_step, steps, artefact)
    if outcome != "finished":
        return
    if changed := [each for weights in untouched for each in weights.find_changes()]:
        raise AssertionError(f"training has changed the reader's own weights: {changed[0]} (of {len(changed)} changes)")
    if is_first:
        _save(trainee, steps, artefact, config["files"])


def _is_possible(objective: Objective, artefact: Partial, rank: int) -> bool:
    """Tell whether every worker can do the steps. What one cannot is told and not raised: Ray Train would try again."""
    has_failed = False
    try:
        objective.check()
    except (ValueError, MemoryError) as error:
        has_failed = True
        artefact.post(f"{FAILED}{rank}", json.dumps({REFUSED: str(error)}))
    device = next(iter(objective.trainable().values())).device
    return not sum_over_workers(torch.tensor(float(has_failed), device=device))


def _start_watch(training: Training, num_workers: int) -> StepWatch:
    device = next(iter(training.parameters.values())).device
    return StepWatch(training.recipe.num_steps, device=str(device), num_workers=num_workers)


def _run_steps(
    training: Training, on_step: Callable[[StepReport], None], steps: list[dict[str, Any]], artefact: Partial
) -> Outcome:
    """Train to the end, or until a step fails or the training is to stop, and write checkpoints; say how it ended."""
    rank, saving = train.get_context().get_world_rank(), Saving(artefact)
    while not training.done:
        try:
            training.run(on_step, until=training.step + 1)
        except NotFiniteError as error:  # would be the same again, so it is told and not raised: Ray Train would retry
            artefact.post(f"{FAILED}{rank}", json.dumps(error.args))
            return "failed"
        except SampleRefused as error:  # so would this
            if error.is_cause:
                artefact.post(f"{FAILED}{rank}", json.dumps({REFUSED: str(error)}))
            return "failed"
        is_due, is_stopped = saving.choose(done=training.done)
        if is_due or is_stopped:
            with saving.measure():
                if rank == 0:  # one worker's checkpoint is enough, their weights are equal
                    write_checkpoint(artefact, {"training": training.state(), "steps": steps})
                train.report({"step": training.step, "loss": steps[-1]["loss"]})
        if is_stopped:
            return "interrupted"
    return "finished"


class Saving:
    """Decides after each step whether a checkpoint is due. All workers decide the same, for all of them report one."""

    def __init__(self, artefact: Partial) -> None:
        self.artefact, self.last, self.cost = artefact, time.monotonic(), 0.0

    def choose(self, *, done: bool) -> tuple[bool, bool]:
        """Return whether a checkpoint is due and whether the training is to stop, as the first worker sees it."""
        is_late = time.monotonic() - self.last >= max(SAVE_EVERY_SECONDS, self.cost / SAVE_SHARE)
        chosen = [(done or is_late, self.artefact.has_post(STOP))]
        if is_distributed():
            distributed.broadcast_object_list(chosen, src=0)
        return chosen[0]

    @contextmanager
    def measure(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.last = time.monotonic()
        self.cost = self.last - started


def write_checkpoint(artefact: Partial, state: dict[str, Any]) -> None:
    """Write what a training resumes from, whole or not at all, and keep the checkpoint before it."""
    with artefact.open_file(f"{CHECKPOINT}{state['training']['step']:08}.pt") as path, path.open("wb") as file:
        torch.save(state, file)
    artefact.remove(*_list_checkpoints(artefact)[KEPT_CHECKPOINTS:])


def find_checkpoint(artefact: Partial, *, is_first: bool) -> dict[str, Any] | None:
    """Read the newest checkpoint that is whole, if there is one.

    Of several workers the first chooses it, so that all begin at one step. One that cannot be read is set aside, or it
    would be taken for the newest again.
    """
    name, state = next(_read_whole(artefact), (None, None)) if is_first else (None, None)
    chosen = [name]
    if is_distributed():
        distributed.broadcast_object_list(chosen, src=0)
    return _read_checkpoint(artefact.fetch_hidden(chosen[0])) if state is None and chosen[0] else state


def _read_whole(artefact: Partial) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the checkpoints that can be read with their names, newest first, and set the others aside."""
    for name in _list_checkpoints(artefact):
        path = artefact.fetch_hidden(name)
        try:
            yield path.name, _read_checkpoint(path)
        except Exception as error:  # a torn file makes zipfile and torch raise errors of many types
            path.replace(path.with_suffix(".unreadable"))
            artefact.remove(name)
            why = str(error).partition("\n")[0] or type(error).__name__
            told = f"the checkpoint {path} cannot be read ({why}) and is set aside"
            then = "training goes on at the one before it, or from the start if there is none"
            leave_line(artefact, logging.WARNING, f"{told}; {then}")


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Its checksums are looked at first, because torch itself loads wrong weights without a word."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise ValueError(f"{damaged} in it differs from its checksum")
    return torch.load(path, weights_only=True, map_location="cpu")


def _list_checkpoints(artefact: Partial) -> list[str]:
    """List the names of the checkpoints, newest first; they have the step."""
    return [name for name in reversed(artefact.list_hidden(CHECKPOINT)) if name.endswith(".pt")]


def _save(trainee: Trainee, steps: list[dict[str, Any]], artefact: Partial, files: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trainee.save(Path(folder))
        for name in files:
            with artefact.open_file(name) as path:
                path.write_bytes((Path(folder) / name).read_bytes())
    artefact.write_shard(STEPS, check_rows("training_step", steps))
