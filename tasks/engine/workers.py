"""Workers without Ray: their number and resources, their progress, their process groups, the error that one died."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

from tasks.engine.context import Context

# OMP, GOMP: a waiting thread may spin for a quarter of a millisecond. Without end, small models are ten times slower
# beside another busy process; not at all, a third slower on a quiet machine (docs/log.md).
# Prefect: a worker imports it inside a running event loop, where its plugins cannot start.
# Ray Train: by default it looks only every two seconds for a report, for which training waits, and for the end.
WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "5000",
    "PREFECT_PLUGINS_ENABLED": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}


Kind = tuple[float, float, str]  # CPUs, GPUs and what it is: those of one kind can replace each other


class WorkerDied(RuntimeError):
    """A worker process was killed, or ran out of memory, while it worked."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many workers a stage gets, with the CPUs and GPUs of each; a shard fails after `max_deaths` lost workers."""

    num_actors: int = 1
    cpus: float = 1
    gpus: float = 0
    max_deaths: int = 3

    @property
    def resources(self) -> dict[str, float]:
        """One worker's CPUs and GPUs, as Ray's options."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    @property
    def kind(self) -> Kind:
        """One worker's CPUs and GPUs; workers of the same kind can replace each other."""
        return self.cpus, self.gpus, "worker"

    @classmethod
    def of(cls, context: Context) -> "Workers":
        return cls(num_actors=context.num_actors, cpus=context.cpus_per_actor, gpus=context.gpus_per_actor)


@dataclass(frozen=True)
class Progress:
    """One more shard is done: its name and result, how many of all are done, and the time since the start (seconds)."""

    shard: str
    result: Any
    _: KW_ONLY
    done: int
    total: int
    seconds: float
    num_workers: int


class Pace:
    """Tells how far a stage is. A worker's first shard waits for imports and models, so the rate is that of later ones.

    Until more shards are done than there are workers, neither rate nor remaining time is told.
    """

    def __init__(self) -> None:
        self.first = (0, 0.0)  # how many were done, and after how many seconds, when every worker could have done one

    def describe(self, progress: Progress) -> str:
        """Describe the progress; call it for each."""
        done, seconds = progress.done, progress.seconds
        if done <= progress.num_workers:
            self.first = done, seconds
        shown = f"{done} of {progress.total} shards"
        timed = done - self.first[0]
        if not timed or seconds <= self.first[1]:
            return shown
        rate = timed / (seconds - self.first[1])
        return f"{shown}, {rate:.2f} a second, {(progress.total - done) / rate:.0f} s remain"


_apart = threading.Event()


@contextlib.contextmanager
def start_apart() -> Iterator[None]:
    """Let the processes that the block starts lead groups of their own, and keep this process's handler of SIGTERM.

    Prefect cancels a run by this signal to the group of its process, and handles it there. Ray must outlive it, so that
    workers can stop and write a checkpoint; without Ray the process would crash, and so it does with Ray's own handler
    (Ray 2.60). Call it on the main thread.
    """
    handler = signal.getsignal(signal.SIGTERM)
    _apart.set()
    try:
        yield
    finally:
        _apart.clear()
        signal.signal(signal.SIGTERM, handler)


def _leave_group() -> None:
    if _apart.is_set():
        os.setpgid(0, 0)


os.register_at_fork(after_in_child=_leave_group)
