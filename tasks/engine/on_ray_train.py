"""Training on Ray Train, whatever is trained: frozen models compared, checkpoints, progress. Killed, it goes on there.

A run's checkpoints lie in the artefact's own folder, which is named by its fingerprint, so the same training finds them
again. They hold the trained weights, the optimizer and the step; batches and random state are functions of the step.
Ray Train brings pandas with it and takes seconds to import, so it is imported only where something is trained.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial as bind
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import distributed

from comem_core.backbone.interface import Reader
from comem_core.training.loop import NotFiniteError, Objective, OptimizerRecipe, StepReport, Training, is_distributed
from tasks.engine.context import RunRef
from tasks.engine.on_ray import POLL_SECONDS, rest_workers
from tasks.engine.partial import Partial
from tasks.engine.stage import get_stage_logger
from tasks.engine.worker_process import call_pickled, forget_held
from warehouse.schemas import check_rows

STEPS = "part-00000"
CHECKPOINTS = ".ray-train"
PROGRESS = ".progress.json"
STOP, FAILED = ".stop", ".failed-"
SAVE_EVERY_SECONDS = 20.0
SAVE_SHARE = 0.05  # of the time may go into checkpoints; with the paper's encoder one is 2.8 GB
STOP_SECONDS = 20.0  # Prefect gives a cancelled run 30
SHOW_EVERY_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """What one worker trains: an objective, the models whose own weights must stay as they are, and how the result is
    written into a folder."""

    objective: Objective
    frozen: tuple[Reader, ...]
    save: Callable[[Path], object]


Build = Callable[[int, int], Trainee]  # (rank, number of workers); called once on each worker


def train_on_ray(
    run: RunRef, artefact: Partial, optimizer: OptimizerRecipe, build: Build, *, files: tuple[str, ...]
) -> None:
    """Train, and write the rows of the steps and the files that the trainee saves."""
    if {*files, STEPS} <= artefact.list_finished():
        return
    rest_workers(run.context, forget=forget_held)
    for path in (artefact.folder / STOP, *artefact.folder.glob(f"{FAILED}*")):  # from an earlier attempt
        path.unlink(missing_ok=True)
    with _progress_shown(artefact, optimizer):
        _fit(run, artefact, optimizer, build, files)
    faults = [
        NotFiniteError(*json.loads(path.read_text(encoding="utf-8"))) for path in artefact.folder.glob(f"{FAILED}*")
    ]
    if faults:
        raise max(faults, key=lambda fault: fault.is_cause)
    shutil.rmtree(artefact.folder / CHECKPOINTS, ignore_errors=True)  # the finished weights are all that is kept
    (artefact.folder / PROGRESS).unlink(missing_ok=True)


def _fit(run: RunRef, artefact: Partial, optimizer: OptimizerRecipe, build: Build, files: tuple[str, ...]) -> None:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    context = run.context
    config = {"artefact": artefact, "optimizer": optimizer, "build": build, "files": files}
    # Pickled, for Ray Train's controller, a process of its own, would import torch and the stages to hand them on.
    trainer = TorchTrainer(
        call_pickled,
        train_loop_config={"call": cloudpickle.dumps(bind(_train_on_worker, config))},
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
    _wait_for(trainer.fit, stop=artefact.folder / STOP)


def _wait_for(fit: Callable[[], object], *, stop: Path) -> None:
    """Train in a thread, because Ray's own wait lets no interruption through but KeyboardInterrupt.

    On an interruption the file `stop` asks the workers for a checkpoint and to end, so that the same run continues from
    this step.
    """
    outcome: Future[object] = Future()

    def train() -> None:
        try:
            outcome.set_result(fit())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=train, daemon=True).start()
    try:
        while not wait([outcome], timeout=POLL_SECONDS).done:
            pass
    except BaseException:
        stop.touch()
        wait([outcome], timeout=STOP_SECONDS)
        raise
    outcome.result()


def _train_on_worker(config: dict[str, Any]) -> None:
    """On each training worker: build, continue from the last checkpoint if there is one, train, and save."""
    from ray import train

    artefact: Partial = config["artefact"]
    world = train.get_context()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // world.get_world_size()))
    trainee: Trainee = config["build"](world.get_world_rank(), world.get_world_size())
    untouched = [reader.hash_base_weights() for reader in trainee.frozen]
    training, steps = Training(trainee.objective, config["optimizer"]), []
    if checkpoint := train.get_checkpoint():
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt", weights_only=True)
        # A checkpoint of an older version does not say so; but its folder is named by what decides this training.
        state["training"].setdefault("training", training.description)
        training.load(state["training"])
        steps = state["steps"]
    is_first = world.get_world_rank() == 0

    def on_step(report: StepReport) -> None:
        row = asdict(report)
        steps.append({name: row[name] for name in ("step", "loss", "learning_rate", "samples", "tokens", "seconds")})
        if is_first:
            (artefact.folder / PROGRESS).write_text(json.dumps(steps[-1]))

    saving = _Saving(artefact)
    while not training.done:
        try:
            training.run(on_step, until=training.step + 1)
        except NotFiniteError as error:  # would be the same again, so it is told and not raised: Ray Train would retry
            failed = artefact.folder / f"{FAILED}{world.get_world_rank()}"
            failed.write_text(json.dumps(error.args), encoding="utf-8")
            return
        is_due, is_stopped = saving.choose(done=training.done)
        if is_due or is_stopped:
            with saving.measure():
                _report(training, steps, is_first=is_first)
        if is_stopped:
            return
    if [reader.hash_base_weights() for reader in trainee.frozen] != untouched:
        raise AssertionError("training has changed the reader's own weights")
    if is_first:
        _save(trainee, steps, artefact, config["files"])


class _Saving:
    """Decides after each step whether a checkpoint is due. All workers decide the same, for all of them report one."""

    def __init__(self, artefact: Partial) -> None:
        self.stop, self.last, self.cost = artefact.folder / STOP, time.monotonic(), 0.0

    def choose(self, *, done: bool) -> tuple[bool, bool]:
        """Return whether a checkpoint is due and whether the training is to stop, as the first worker sees it."""
        is_late = time.monotonic() - self.last >= max(SAVE_EVERY_SECONDS, self.cost / SAVE_SHARE)
        chosen = [(done or is_late, self.stop.exists())]
        if is_distributed():
            distributed.broadcast_object_list(chosen, src=0)
        return chosen[0]

    @contextmanager
    def measure(self) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.last = time.monotonic()
        self.cost = self.last - started


def _report(training: Training, steps: list[dict[str, Any]], *, is_first: bool) -> None:
    """Give Ray Train a checkpoint to resume from; one worker's is enough, their weights are equal."""
    from ray import train

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if is_first:
            torch.save({"training": training.state(), "steps": steps}, Path(folder) / "state.pt")
            checkpoint = train.Checkpoint.from_directory(folder)
        train.report({"step": training.step, "loss": steps[-1]["loss"]}, checkpoint=checkpoint)


def _save(trainee: Trainee, steps: list[dict[str, Any]], artefact: Partial, files: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trainee.save(Path(folder))
        for name in files:
            with artefact.open_file(name) as path:
                path.write_bytes((Path(folder) / name).read_bytes())
    artefact.write_shard(STEPS, check_rows("training_step", steps))


@contextmanager
def _progress_shown(artefact: Partial, optimizer: OptimizerRecipe) -> Iterator[None]:
    """Log step, loss, rate and remaining time while the workers train."""
    ended, logger = threading.Event(), get_stage_logger()
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
                remain = f", {(optimizer.num_steps - last) / rate:.0f} s remain" if rate > 0 else ""
                logger.info("step %d of %d, loss %.3f%s", last, optimizer.num_steps, now["loss"], remain)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()
