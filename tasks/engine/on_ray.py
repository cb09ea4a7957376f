"""Work on Ray: a session, one function on a worker, and many shards over workers that stay. A worker runs a `Seat`.

Workers import this module with the stages, and Prefect costs them seconds: so it is imported only inside the bridge.
"""

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from tasks.engine.context import MEGABYTE, Context
from tasks.engine.seat import Seat
from tasks.engine.workers import WORKER_ENVIRONMENT, Kind, Progress, WorkerDied, Workers

POLL_SECONDS = 0.5  # waits are short, so that Prefect's time limits and cancellations can end them
START_SECONDS = 30  # by then a worker is up, or somebody else holds what it asks for
FOLDER = "comem-ray-"  # then the process id; short, for the path of a socket has 107 letters at most
KEEP_MB = 2048  # with less memory free than that, training gets what idle workers hold
DIED = (RayActorError, OutOfMemoryError, WorkerCrashedError)


@contextlib.contextmanager
def join_ray(context: Context) -> Iterator[None]:
    """Join the cluster at `ray_address`, or start a local Ray and stop it at the end. Within a session it does nothing.

    Call it on the flow's main thread: the kernel ends a local Ray with the thread that started it. Raises ValueError
    when the cluster has not what one worker needs.
    """
    if ray.is_initialized():
        _check_fits(Workers.of(context))
        yield
        return
    os.environ.update(WORKER_ENVIRONMENT)
    _remove_leftovers()
    folder = None if context.ray_address else tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-")
    try:
        _join(context.ray_address) if context.ray_address else _start(context, folder)
        _check_fits(Workers.of(context))
        yield
    finally:
        release_workers()
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove the folders of local Rays whose process was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        if not psutil.pid_exists(int(folder.name.split("-")[2])):
            shutil.rmtree(folder, ignore_errors=True)


def _join(address: str) -> None:
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=True)
    except Exception as error:
        raise ConnectionError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error}). Start one, or unset RAY_ADDRESS to use a "
            "local Ray. If the cluster asks for a token, set RAY_AUTH_MODE the same on both sides"
        ) from error


def _start(context: Context, folder: str | None) -> None:
    # Room for both, so that workers can stay while something is trained; what runs at once is decided by the stages.
    workers = Workers.of(context)
    logical = max(os.cpu_count() or 1, int(workers.num_actors * workers.cpus) + context.train_workers)
    ray.init(
        address="local",
        num_cpus=logical,
        include_dashboard=False,
        logging_level=logging.WARNING,
        log_to_driver=False,  # what a stage has to say goes through Prefect; Ray's own chatter stays in its log files
        object_store_memory=200 * 1024**2,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )


def _check_fits(workers: Workers) -> None:
    has = ray.cluster_resources()
    for name, wanted in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        if wanted > has.get(name, 0):
            raise ValueError(
                f"one worker asks for {wanted:g} {name}, but Ray has {has.get(name, 0):g} in all. Lower "
                f"COMEM_{name}S_PER_ACTOR, or set RAY_ADDRESS to a cluster that has them"
            )


def run_on_ray(function: Callable[..., Any], *args: Any, **resources: Any) -> Any:
    """Run one function on one Ray worker and return its result; in a Prefect task its log lines reach Prefect.

    Ray's own retries are off, so that Prefect's are true. `resources` are Ray's options (num_cpus, num_gpus, ...).
    Raises the function's own error, or WorkerDied; an interruption ends the work and frees what it held.

    The worker is an actor and is killed, because cancelling a task with force at the moment it completes crashes the
    calling process (Ray 2.60: "Tried to complete task that was not pending").
    """
    from prefect.context import FlowRunContext, TaskRunContext, serialize_context

    carried = serialize_context() if TaskRunContext.get() or FlowRunContext.get() else None
    name = getattr(function, "__name__", "function")
    wanted = {"num_cpus": 1} | resources
    seat, started = _open_seat(wanted), time.monotonic()
    ready = seat.warm.remote()
    reference = seat.call.remote(function, args, carried)
    try:
        while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
            late = time.monotonic() - started > START_SECONDS and not ray.wait([ready], timeout=0)[0]
            if late or not _fits_beside_kept(wanted["num_cpus"], wanted.get("num_gpus", 0)):
                release_workers()  # workers kept by a stage that has ended hold what this one waits for
        return ray.get(reference)
    except RayTaskError as error:
        raise _own_error(error) from error
    except DIED as error:
        raise WorkerDied(f"the worker of {name} died: it was killed or ran out of memory ({error})") from error
    finally:
        ray.kill(seat)


def _own_error(error: RayTaskError) -> Exception:
    cause = error.cause
    return cause if isinstance(cause, Exception) else error


_kept: dict[Kind, list[Any]] = {}  # idle workers of the last stage, all of one kind
_kept_lock = threading.Lock()
_one_at_a_time = threading.Lock()


def start_workers(workers: Workers, *, modules: tuple[str, ...] = ()) -> None:
    """Start workers that the next stages will use, and let them import modules, without waiting for either.

    Where no session is open, nothing is started.
    """
    if not ray.is_initialized():
        return
    with _kept_lock:
        _release_others(workers)
        seats = _kept.setdefault(workers.kind, [])
        seats.extend(_open_seat(workers.resources) for _ in range(workers.num_actors - len(seats)))
        for seat in seats:
            seat.warm.remote(modules)


def release_workers() -> None:
    """End the idle workers, so that what follows (training, above all) gets their memory and their GPUs."""
    with _kept_lock:
        _release_others(None)


def rest_workers(context: Context, *, forget: Callable[[], None]) -> None:
    """Let the idle workers let go of their models before training; `forget` empties what they have cached.

    They stay, for a new one takes seconds to import what they have; where training needs their GPUs, CPUs or memory, or
    the cluster is not ours alone, they end.
    """
    scarce = psutil.virtual_memory().available < KEEP_MB * MEGABYTE
    if context.ray_address or context.gpus_per_actor or scarce or not _fits_beside_kept(context.train_workers, 0):
        release_workers()
        return
    with _kept_lock:
        for seat in [seat for seats in _kept.values() for seat in seats]:
            seat.rest.remote(forget)


def _fits_beside_kept(cpus: float, gpus: float) -> bool:
    """Tell whether Ray has so much besides what the idle workers hold."""
    has = ray.cluster_resources()
    with _kept_lock:
        for (own_cpus, own_gpus), seats in _kept.items():
            cpus, gpus = cpus + len(seats) * own_cpus, gpus + len(seats) * own_gpus
    return cpus <= has.get("CPU", 0) and gpus <= has.get("GPU", 0)


def _release_others(wanted: Workers | None) -> None:
    """End the workers of another kind. A stage that asks for fewer of this kind uses those that are up."""
    for kind in [each for each in _kept if wanted is None or each != wanted.kind]:
        for seat in _kept.pop(kind):
            ray.kill(seat)


def _open_seat(resources: dict[str, Any]) -> Any:
    return ray.remote(Seat).options(max_restarts=0, **resources).remote(max(1, int(resources["num_cpus"])))


def map_shards(
    make_worker: Callable[[], Callable[[Any], Any]],
    shards: Mapping[str, Any],
    *,
    workers: Workers,
    on_done: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Give every shard to a worker and return the results (keep them small) by shard name, in the order given.

    `make_worker` runs once in each worker and returns what turns a shard into a result. One shard is under way in a
    worker at a time. A shard whose worker dies is given to another one, `max_deaths` times at most: then WorkerDied
    names it. An error of the function itself is raised as it is. Workers stay for the next call of the same kind.
    """
    if not shards:
        return {}
    while not _one_at_a_time.acquire(timeout=POLL_SECONDS):
        pass  # two stages at once would each wait for workers that the other one keeps
    try:
        return _Round(cloudpickle.dumps(make_worker), shards, workers, on_done).run()
    finally:
        _one_at_a_time.release()


class _Round:
    """One call of `map_shards`: which shards wait, and which worker has which."""

    def __init__(self, factory: bytes, shards: Mapping[str, Any], workers: Workers, on_done: Any) -> None:
        self.factory = ray.put(factory)
        self.shards, self.workers, self.on_done = shards, workers, on_done
        self.waiting = deque(shards)
        self.deaths = dict.fromkeys(shards, 0)
        self.busy: dict[Any, tuple[str, Any]] = {}
        self.results: dict[str, Any] = {}
        self.started = time.monotonic()

    def run(self) -> dict[str, Any]:
        idle = _take_kept(self.workers)
        try:
            while self.waiting or self.busy:
                while self.waiting and len(self.busy) < self.workers.num_actors:
                    self._give(idle.pop() if idle else _open_seat(self.workers.resources))
                for reference in ray.wait(list(self.busy), timeout=POLL_SECONDS)[0]:
                    if (seat := self._collect(reference)) is not None:
                        idle.append(seat)
        except BaseException:
            for seat in [*idle, *(seat for _, seat in self.busy.values())]:
                ray.kill(seat)
            raise
        with _kept_lock:
            _kept.setdefault(self.workers.kind, []).extend(idle)
        return {name: self.results[name] for name in self.shards}

    def _give(self, seat: Any) -> None:
        name = self.waiting.popleft()
        self.busy[seat.work.remote(self.factory, self.shards[name])] = (name, seat)

    def _collect(self, reference: Any) -> Any | None:
        """Take a result and return the worker, or None if it died and its shard waits again."""
        name, seat = self.busy[reference]
        try:
            self.results[name] = ray.get(reference)
        except RayTaskError as error:
            cause = _own_error(error)
            cause.add_note(f"while a worker did shard {name}")
            raise cause from error
        except DIED as error:
            del self.busy[reference]
            self._bury(name, error)
            return None
        del self.busy[reference]
        if self.on_done is not None:
            seconds = time.monotonic() - self.started
            done, total = len(self.results), len(self.shards)
            self.on_done(Progress(shard=name, result=self.results[name], done=done, total=total, seconds=seconds))
        return seat

    def _bury(self, name: str, error: RayError) -> None:
        self.deaths[name] += 1
        if self.deaths[name] >= self.workers.max_deaths:
            raise WorkerDied(
                f"shard {name} lost its worker {self.deaths[name]} times (killed, or out of memory); the other shards "
                f"are kept. Last: {str(error).strip().splitlines()[0]}"
            ) from error
        self.waiting.appendleft(name)


def _take_kept(workers: Workers) -> list[Any]:
    """Take the idle workers of this kind that still live, and end those of other kinds."""
    with _kept_lock:
        _release_others(workers)
        seats = _kept.pop(workers.kind, [])
    alive = []
    for seat in seats:
        with contextlib.suppress(*DIED):
            ray.get(seat.warm.remote())
            alive.append(seat)
    return alive
