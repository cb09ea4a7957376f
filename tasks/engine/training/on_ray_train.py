"""Training on Ray Train, whatever is trained: frozen models compared, checkpoints, progress. Killed, it goes on there.

Checkpoints lie in the artefact's own folder, which is named by its fingerprint, so the same training finds them again
whoever died. One holds trained weights, optimizer and step; batches and random state are functions of the step. Ray
Train brings pandas with it and takes seconds to import, so it is imported only where something is trained.
"""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial as bind
from typing import TYPE_CHECKING, Any

import cloudpickle
import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from comem_core.tracking.choosing import TrackedTraining
from comem_core.tracking.steps import describe_step
from comem_core.training.recipe import OptimizerRecipe
from comem_core.training.reports import NotFiniteError
from tasks.engine.context import Context, ParameterRefused, RunRef
from tasks.engine.on_ray import POLL_SECONDS, map_shards, rest_workers
from tasks.engine.partial import Partial
from tasks.engine.telling import get_stage_logger
from tasks.engine.worker_process import call_pickled, forget_held, handed_on
from tasks.engine.workers import WorkerDied, Workers

if TYPE_CHECKING:
    from tasks.engine.training.train_worker import Trainee

STEPS = "part-00000"
CHECKPOINT, RAY_FOLDER = ".checkpoint-", ".ray-train"
PROGRESS, SAID = ".progress.json", ".said.jsonl"
TRACKED = "tracking"
"""The folder of the store for trackers that write files."""
STOP, FAILED = ".stop", ".failed-"
REFUSED = "refused"
"""What a file of a failed worker has where a sample, not a step, is at fault."""
STOP_SECONDS = 20.0  # Prefect gives a cancelled run 30
SHOW_EVERY_SECONDS = 5.0
MOST_DEATHS = 3


class TrainingFailed(RuntimeError):
    """Training ended with an error of a worker, after Ray Train's own new starts."""


Build = Callable[[int, int], "Trainee"]  # (rank, number of workers); called once on each worker


def train_on_ray(
    run: RunRef,
    artefact: Partial,
    optimizer: OptimizerRecipe,
    build: Build,
    *,
    files: tuple[str, ...],
    parameters: Mapping[str, Any] = {},
) -> None:
    """Train, and write the rows of the steps and the files that the trainee saves. A tracker shows the parameters."""
    if not {*files, STEPS} <= artefact.list_finished():
        config = {"artefact": artefact, "optimizer": optimizer, "build": build, "files": files}
        _train(run, config, parameters)
    shutil.rmtree(artefact.folder / RAY_FOLDER, ignore_errors=True)  # the finished weights are all that is kept
    artefact.clear(CHECKPOINT, PROGRESS, SAID)
    artefact.fetch_finished()


def _train(run: RunRef, config: dict[str, Any], parameters: Mapping[str, Any]) -> None:
    artefact: Partial = config["artefact"]
    rest_workers(run.context, forget=forget_held)
    artefact.clear(STOP, FAILED)  # from an earlier attempt
    with _progress_shown(artefact, config["optimizer"]):
        config["tracked"] = name_tracked(run, artefact, parameters)
        fit = _fit_alone if run.context.train_workers == 1 else _fit_together
        _wait_for(bind(fit, run.context, config), stop=bind(artefact.post, STOP, ""))
    told = [json.loads(text) for text in artefact.read_posts(FAILED)]
    if refused := [each[REFUSED] for each in told if isinstance(each, dict)]:
        raise ParameterRefused(refused[0])
    if told:
        raise max((NotFiniteError(*each) for each in told), key=lambda fault: fault.is_cause)


def _fit_alone(context: Context, config: dict[str, Any]) -> None:
    """Train on one of the stages' workers, in Ray Train's local mode.

    Ray Train's controller and its helpers are five processes, whose start takes 22 s of a core (Ray 2.60); and a worker
    of the stages has imported the models already.
    """
    workers = Workers(num_actors=1, gpus=1 if context.device == "cuda" else 0, max_deaths=MOST_DEATHS)
    try:
        map_shards(_make_lone_worker, {"training": config}, workers=workers)
    except WorkerDied as error:
        raise WorkerDied(
            f"training lost its worker {MOST_DEATHS} times (killed, or out of memory); the same run goes on at the "
            f"last checkpoint ({error.__cause__})"
        ) from error


def _make_lone_worker() -> Callable[[dict[str, Any]], None]:
    from tasks.engine.training.train_worker import train_alone

    return train_alone


def _fit_together(context: Context, config: dict[str, Any]) -> None:
    """Train on several workers, which Ray Train's controller starts, joins, and starts again when one dies.

    Nobody starts the controller again when it dies, so this does.
    """
    from ray.train.v2.api.exceptions import TrainingFailedError

    artefact: Partial = config["artefact"]
    for deaths in range(1, MOST_DEATHS + 1):
        before = _list_reserved()
        try:
            _make_trainer(context, config).fit()
        except TrainingFailedError as error:
            raise TrainingFailed(_describe_failure(error)) from error
        except RayActorError as error:
            _free(_list_reserved() - before)
            lost = f"training lost Ray Train's controller, which leads its workers, {deaths} of {MOST_DEATHS} times"
            told = f"{lost} (killed, or out of memory)"
            if deaths == MOST_DEATHS or artefact.has_post(STOP):
                last = str(error).strip().splitlines()[0]
                raise WorkerDied(f"{told}; the same run goes on at the last checkpoint. Last: {last}") from error
            leave_line(artefact, logging.WARNING, f"{told}; it goes on at the last checkpoint")
        else:
            return


def _make_trainer(context: Context, config: dict[str, Any]) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    class Trainer(TorchTrainer):
        """Without Ray Train's cleaner, a process that outlives a killed run: it asks an API if the controller lives,
        and got no answer (Ray 2.60 without `ray[default]`). `_free` does what it should."""

        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [each for each in callbacks if type(each).__name__ != "PlacementGroupCleanerCallback"]

    # Pickled, for Ray Train's controller, a process of its own, would import torch and the stages to hand them on.
    return Trainer(
        call_pickled,
        train_loop_config={
            "call": cloudpickle.dumps(bind(_train_on_worker, config)),
            "variables": cloudpickle.dumps(dict(handed_on)),
        },
        scaling_config=ScalingConfig(num_workers=context.train_workers, use_gpu=context.device == "cuda"),
        run_config=RunConfig(
            name="training",  # its folder is the artefact's own, and that is named by the fingerprint
            storage_path=str(config["artefact"].folder / RAY_FOLDER),
            failure_config=FailureConfig(max_failures=MOST_DEATHS - 1),
        ),
    )


def _list_reserved() -> set[str]:
    """List this program's placement groups, by which workers have their CPUs and GPUs; the end of an id is its job."""
    job = ray.get_runtime_context().get_job_id()
    return {
        name for name, group in placement_group_table().items() if name.endswith(job) and group["state"] != "REMOVED"
    }


def _free(reserved: set[str]) -> None:
    """Free what a dead controller reserved, and end the workers in it. Ray itself keeps it until the program ends."""
    for name in reserved:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(name)))


def _describe_failure(error: Any) -> str:
    """Return one line that says which worker failed, and how; Ray Train's own first line does not."""
    failures = getattr(error, "worker_failures", None) or {"": getattr(error, "controller_failure", error)}
    rank, failure = next(iter(failures.items()))
    lines = [line.strip() for line in str(failure).splitlines() if line.strip()]
    where = f" on worker {rank} of {len(failures)} that failed" if rank != "" else ""
    said = f"training failed{where}: {lines[-1] if lines else type(failure).__name__}"
    return f"{said} (set GLOO_SOCKET_IFNAME on the nodes, docs/cluster.md)" if "Gloo connect" in said else said


def _train_on_worker(config: dict[str, Any]) -> None:
    """Enter a training worker; only there torch and Ray Train are imported."""
    from tasks.engine.training.train_worker import train_on_worker

    train_on_worker(config)


def _wait_for(fit: Callable[[], object], *, stop: Callable[[], object]) -> None:
    """Train in a thread, because Ray's own wait lets no interruption through but KeyboardInterrupt.

    On an interruption `stop` asks the workers for a checkpoint and to end, so that the same run continues from this
    step.
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
        stop()
        wait([outcome], timeout=STOP_SECONDS)
        raise
    outcome.result()


def leave_line(artefact: Partial, level: int, line: str) -> None:
    """Leave a line for the log of the run, which follows this file; threads and workers cannot write to it."""
    artefact.append_line(SAID, json.dumps([level, line]))


@contextmanager
def _progress_shown(artefact: Partial, optimizer: OptimizerRecipe) -> Iterator[None]:
    """Log the steps while the workers train, the last one at the end, and what the workers say."""
    ended, logger = threading.Event(), get_stage_logger()
    artefact.clear(PROGRESS, SAID)  # what an earlier attempt left
    last, num_said = 0, 0

    def show() -> None:
        nonlocal last, num_said
        said = artefact.read_lines(SAID)
        for level, line in map(json.loads, said[num_said:]):
            logger.log(level, "%s", line)
        num_said = len(said)
        with suppress(FileNotFoundError, json.JSONDecodeError):
            for now in map(json.loads, artefact.read_posts(PROGRESS)):
                if now["step"] == last:
                    continue
                last = now["step"]
                logger.info("%s", describe_step(last, optimizer.num_steps, now["measures"]))

    def follow() -> None:
        while not ended.wait(SHOW_EVERY_SECONDS):
            show()
        show()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


def name_tracked(run: RunRef, artefact: Partial, parameters: Mapping[str, Any]) -> TrackedTraining | None:
    """Name a training for the run's tracker; one that is continued keeps the name under which it began."""
    if run.context.tracker is None:
        return None
    return TrackedTraining(
        tracker=run.context.tracker,
        folder=run.context.store / TRACKED,
        stage=artefact.folder.parent.name,
        fingerprint=artefact.folder.stem,
        run_id=artefact.keep("tracked_run", run.run_id),
        recipe_name=run.recipe_name,
        parameters=parameters,
    )
