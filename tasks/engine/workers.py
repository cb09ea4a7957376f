"""The settings of workers and their messages: how many and how big, how far they are, that one died. Knows no Ray."""

from dataclasses import dataclass
from typing import Any

from tasks.engine.context import Context

# Waiting threads must not spin: beside another busy process that makes small models ten times slower. A worker imports
# Prefect inside a running event loop, where Prefect's plugins cannot start. And Ray Train looks every two seconds for a
# report, for which the training waits, and for its end.
WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "PREFECT_PLUGINS_ENABLED": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}


Kind = tuple[float, float]  # CPUs and GPUs that a worker holds: one of a kind can do another's work


class WorkerDied(RuntimeError):
    """A worker process was killed, or ran out of memory, while it worked."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How many workers a stage gets and what each holds. `max_deaths` is how often one shard may lose its worker."""

    num_actors: int = 1
    cpus: float = 1
    gpus: float = 0
    max_deaths: int = 3

    @property
    def resources(self) -> dict[str, float]:
        """What one worker holds, in Ray's words."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}

    @property
    def kind(self) -> Kind:
        """What tells one worker from another."""
        return self.cpus, self.gpus

    @classmethod
    def of(cls, context: Context) -> "Workers":
        return cls(num_actors=context.num_actors, cpus=context.cpus_per_actor, gpus=context.gpus_per_actor)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One more shard is done: its name and result, how far all of them are, and how long that took (seconds)."""

    shard: str
    result: Any
    done: int
    total: int
    seconds: float

    @property
    def remaining_seconds(self) -> float:
        return self.seconds / self.done * (self.total - self.done)

    def __str__(self) -> str:
        rate = self.done / self.seconds if self.seconds else 0.0
        return f"{self.done} of {self.total} shards, {rate:.2f} a second, {self.remaining_seconds:.0f} s remain"
