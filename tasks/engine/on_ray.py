"""Work on Ray: a session, one function on one worker, and many shards over workers that stay for the next stage.

Workers import this module with the stages. Importing Prefect takes seconds, so only `run_on_ray` imports it.
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

from tasks.engine.cluster import Describe, check_fits, describe_wait, join_cluster, start_local, wait_for_any
from tasks.engine.context import MEGABYTE, Context
from tasks.engine.worker_process import WorkerProcess, handed_on
from tasks.engine.workers import WORKER_ENVIRONMENT, Kind, Progress, WorkerDied, Workers, start_apart

POLL_SECONDS = 0.5  # waits are short, so that Prefect's time limits and cancellations can end them
START_SECONDS = 30  # a worker that is not up by then waits for resources that other workers hold
FOLDER = "comem-ray-"  # the process id follows; it is short because a socket's path may have at most 107 characters
KEEP_MB = 2048  # with less free memory than this, idle workers end before training
log = logging.getLogger("comem.stage")
DIED = (RayActorError, OutOfMemoryError, WorkerCrashedError)


@contextlib.contextmanager
def join_ray(context: Context, describe: Describe | None = None) -> Iterator[None]:
    """Join the cluster at `ray_address`, or start a local Ray and stop it at the end; an open session is used as it is.
    What `describe` returns must be the same on every node of a cluster.

    Call it on the flow's main thread, because the kernel ends a local Ray together with the thread that started it.

    Raises:
        ConnectionError: no cluster answers at the address, or this machine is not a node of it.
        ValueError: the cluster lacks the CPUs or GPUs that one worker needs, or one of its nodes does not fit.
    """
    if ray.is_initialized():
        check_fits(Workers.of(context))
        yield
        return
    os.environ.update(WORKER_ENVIRONMENT)
    _remove_leftovers()
    folder = None if context.ray_address else tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-")
    try:
        with start_apart():
            join_cluster(context, describe) if context.ray_address else start_local(context, folder)
        check_fits(Workers.of(context))
        yield
    finally:
        release_workers()
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove the folders of local Rays whose process was killed before it could remove them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        if not psutil.pid_exists(int(folder.name.split("-")[2])):
            shutil.rmtree(folder, ignore_errors=True)


def run_on_ray(function: Callable[..., Any], *args: Any, **resources: Any) -> Any:
    """Run one function on one Ray worker and return its result; in a Prefect task its log lines reach Prefect.

    Ray's own retries are off, so that only Prefect retries. `resources` are Ray's options (num_cpus, num_gpus, ...).
    Raises the function's own error, or WorkerDied. An interruption ends the work and frees its resources.

    The worker is an actor, which is killed at the end: forcing a Ray task to cancel at the moment it completes crashes
    the calling process (Ray 2.60: "Tried to complete task that was not pending").
    """
    from prefect.context import FlowRunContext, TaskRunContext, serialize_context

    carried = serialize_context() if TaskRunContext.get() or FlowRunContext.get() else None
    name, wanted = getattr(function, "__name__", "function"), {"num_cpus": 1} | resources
    worker, started = _open_worker(wanted), time.monotonic()
    ready = worker.warm.remote()
    reference = worker.call.remote(function, args, carried)
    try:
        while not wait_for_any([reference], seconds=POLL_SECONDS):
            late = time.monotonic() - started > START_SECONDS and not wait_for_any([ready], seconds=0)
            if late or not _fits_beside_kept(wanted["num_cpus"], wanted.get("num_gpus", 0)):
                release_workers()  # idle workers of an earlier stage hold the resources that this one waits for
        return ray.get(reference)
    except RayTaskError as error:
        raise find_own_error(error) from error
    except DIED as error:
        raise WorkerDied(f"the worker of {name} died: it was killed or ran out of memory ({error})") from error
    finally:
        ray.kill(worker)


def find_own_error(error: RayTaskError) -> Exception:
    return error.cause if isinstance(error.cause, Exception) else error


kept: dict[Kind, list[Any]] = {}  # what the last stage left idle: workers of one kind, and engines
kept_lock = threading.Lock()
_one_at_a_time = threading.Lock()


def start_workers(workers: Workers, *, modules: tuple[str, ...] = ()) -> None:
    """Start workers for the next stages and let them import modules, without waiting for them.

    Does nothing if no session is open.
    """
    if not ray.is_initialized():
        return
    with kept_lock:
        _release_others(workers)
        idle = kept.setdefault(workers.kind, [])
        idle.extend(_open_worker(workers.resources) for _ in range(workers.num_actors - len(idle)))
        for worker in idle:
            worker.warm.remote(modules)


def release_workers() -> None:
    """End the idle workers, so that the next stage (above all training) gets their memory and their GPUs."""
    with kept_lock:
        _release_others(None)


def rest_workers(context: Context, *, forget: Callable[[], None]) -> None:
    """Let the idle workers free their models before training; `forget` empties their caches.

    The workers stay, because a new one takes seconds for its imports. They end if training needs their GPUs, CPUs or
    memory, or if the cluster may be shared with others.
    """
    scarce = psutil.virtual_memory().available < KEEP_MB * MEGABYTE
    if context.ray_address or context.gpus_per_actor or scarce or not _fits_beside_kept(context.train_workers, 0):
        release_workers()
        return
    with kept_lock:
        for worker in [worker for idle in kept.values() for worker in idle]:
            worker.rest.remote(forget)


def _fits_beside_kept(cpus: float, gpus: float) -> bool:
    """Tell whether Ray has these CPUs and GPUs in addition to those of the idle workers."""
    has = ray.cluster_resources()
    with kept_lock:
        for (own_cpus, own_gpus, _), idle in kept.items():
            cpus, gpus = cpus + len(idle) * own_cpus, gpus + len(idle) * own_gpus
    return cpus <= has.get("CPU", 0) and gpus <= has.get("GPU", 0)


def _release_others(wanted: Workers | None) -> None:
    """End the idle workers of other kinds (with None, of all kinds)."""
    for kind in [each for each in kept if wanted is None or each != wanted.kind]:
        for worker in kept.pop(kind):
            ray.kill(worker)


def _open_worker(resources: dict[str, Any]) -> Any:
    threads = max(1, int(resources["num_cpus"]))
    return ray.remote(WorkerProcess).options(max_restarts=0, **resources).remote(threads, dict(handed_on))


def map_shards(
    make_worker: Callable[[], Callable[[Any], Any]],
    shards: Mapping[str, Any],
    *,
    workers: Workers,
    on_done: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Give every shard to a worker and return the results (keep them small) by shard name, in the order given.

    `make_worker` runs once in each worker and returns the function that turns a shard into a result. A worker does one
    shard at a time. A shard whose worker dies is given to another one; after `max_deaths` deaths WorkerDied names the
    shard. An error of the function itself is raised unchanged. Workers stay for the next call of the same kind.
    """
    if not shards:
        return {}
    while not _one_at_a_time.acquire(timeout=POLL_SECONDS):
        pass  # two stages at once would wait for each other's workers
    try:
        return _Round(cloudpickle.dumps(make_worker), shards, workers, on_done).run()
    finally:
        _one_at_a_time.release()


class _Round:
    """One call of `map_shards`: the shards that wait, and the shard of each busy worker."""

    def __init__(self, factory: bytes, shards: Mapping[str, Any], workers: Workers, on_done: Any) -> None:
        self.factory = ray.put(factory)
        self.shards, self.workers, self.on_done = shards, workers, on_done
        self.waiting = deque(shards)
        self.deaths = dict.fromkeys(shards, 0)
        self.busy: dict[Any, tuple[str, Any]] = {}
        self.asked: dict[Any, tuple[float, Any]] = {}  # of a new worker: when it was asked for, and what it is up with
        self.results: dict[str, Any] = {}
        self.started = time.monotonic()

    def run(self) -> dict[str, Any]:
        up, starting = _take_kept(self.workers)
        self.asked = {worker: (time.monotonic(), ready) for worker, ready in starting.items()}
        idle = [*starting, *up]  # the last one is taken first
        try:
            while self.waiting or self.busy:
                while self.waiting and len(self.busy) < self.workers.num_actors:
                    self._start_shard(idle.pop() if idle else self._ask_for_worker())
                for reference in wait_for_any(list(self.busy), seconds=POLL_SECONDS):
                    if (worker := self._collect(reference)) is not None:
                        idle.append(worker)
                self._take_back(has_idle=any(worker not in self.asked for worker in idle))
        except BaseException:
            for worker in [*idle, *(worker for _, worker in self.busy.values())]:
                ray.kill(worker)
            raise
        with kept_lock:
            kept.setdefault(self.workers.kind, []).extend(idle)
        return {name: self.results[name] for name in self.shards}

    def _ask_for_worker(self) -> Any:
        worker = _open_worker(self.workers.resources)
        self.asked[worker] = (time.monotonic(), worker.warm.remote())
        return worker

    def _take_back(self, *, has_idle: bool) -> None:
        """Give the shards of workers that do not come up to those that have nothing to do, or say what is waited for.

        Ray waits for ever for a worker that fits on no node, as after the loss of one.
        """
        for reference, (name, worker) in list(self.busy.items()):
            since, ready = self.asked.get(worker, (time.monotonic(), None))
            if time.monotonic() - since < START_SECONDS:
                continue
            if wait_for_any([ready], seconds=0):
                del self.asked[worker]
            elif has_idle and not self.waiting:
                ray.kill(worker)
                del self.busy[reference], self.asked[worker]
                self.waiting.append(name)
            elif not has_idle:
                self.asked[worker] = (time.monotonic(), ready)
                log.warning("no worker for shard %s yet: %s", name, describe_wait(self.workers))

    def _start_shard(self, worker: Any) -> None:
        name = self.waiting.popleft()
        self.busy[worker.work.remote(self.factory, self.shards[name])] = (name, worker)

    def _collect(self, reference: Any) -> Any | None:
        """Take a result and return its worker; None if the worker died, in which case its shard waits again."""
        name, worker = self.busy[reference]
        self.asked.pop(worker, None)
        try:
            self.results[name] = ray.get(reference)
        except RayTaskError as error:
            cause = find_own_error(error)
            cause.add_note(f"while a worker processed shard {name}")
            raise cause from error
        except DIED as error:
            del self.busy[reference]
            self._count_death(name, error)
            return None
        del self.busy[reference]
        if self.on_done is not None:
            seconds, many = time.monotonic() - self.started, self.workers.num_actors
            done, total, result = len(self.results), len(self.shards), self.results[name]
            self.on_done(Progress(name, result, done=done, total=total, seconds=seconds, num_workers=many))
        return worker

    def _count_death(self, name: str, error: RayError) -> None:
        self.deaths[name] += 1
        if self.deaths[name] >= self.workers.max_deaths:
            raise WorkerDied(
                f"shard {name} lost its worker {self.deaths[name]} times (killed, or out of memory); the other shards "
                f"are kept. Last: {str(error).strip().splitlines()[0]}"
            ) from error
        self.waiting.appendleft(name)


def _take_kept(workers: Workers) -> tuple[list[Any], dict[Any, Any]]:
    """Take the idle workers of this kind, and end the workers of other kinds. Returns those that are up, and those that
    are still starting with what each will answer; dead ones are left out."""
    with kept_lock:
        _release_others(workers)
        idle = kept.pop(workers.kind, [])
    asked = {worker.warm.remote(): worker for worker in idle}
    up, starting = ray.wait(list(asked), num_returns=1, timeout=START_SECONDS) if asked else ([], [])
    up += ray.wait(starting, num_returns=len(starting), timeout=0)[0] if starting else []
    alive = []
    for reference in up:
        with contextlib.suppress(*DIED):
            ray.get(reference)
            alive.append(asked[reference])
    return alive, {worker: reference for reference, worker in asked.items() if reference not in up}
