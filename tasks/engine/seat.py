"""What runs in a worker process: the seat, which keeps what it has loaded from one shard to the next.

Knows neither Ray nor Prefect, so that a worker is up at once; Prefect comes with a call that a Prefect task makes.
"""

import gc
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

import cloudpickle

P = ParamSpec("P")
R = TypeVar("R")
_held: list[Any] = []


def held(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Keep the last results of a function in this process, until `forget_held`."""

    def hold(function: Callable[P, R]) -> Callable[P, R]:
        kept: Any = lru_cache(maxsize)(function)
        _held.append(kept)
        return kept

    return hold


def forget_held() -> None:
    """Let go of everything that this process holds, which is mostly models."""
    for kept in _held:
        kept.cache_clear()


def call_pickled(config: dict[str, bytes]) -> None:
    """Call what was pickled as `call`: a process that only hands it on imports nothing of what it needs."""
    cloudpickle.loads(config["call"])()


class Seat:
    """A worker process. It keeps what the last factory made, so a model is loaded once and not once a shard."""

    def __init__(self, threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(threads)
        self._factory: bytes | None = None
        self._work: Callable[[Any], Any] | None = None

    def warm(self, modules: tuple[str, ...] = ()) -> int:
        """Import modules ahead of need and return the process id."""
        for name in modules:
            import_module(name)
        return os.getpid()

    def rest(self, forget: Callable[[], None] | None = None) -> None:
        """Let go of what the last factory made and of what `forget` empties; what is imported stays."""
        self._work = self._factory = None
        if forget is not None:
            forget()
        gc.collect()

    def work(self, factory: bytes, shard: Any) -> Any:
        """Do a shard with what this factory makes, which is made if the last shard had another one."""
        if self._work is None or factory != self._factory:
            self.rest()  # the former model goes before the next one comes
            self._work = cloudpickle.loads(factory)()
            self._factory = factory
        assert self._work is not None
        return self._work(shard)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], carried: dict[str, Any] | None) -> Any:
        """Call a function, within the Prefect task that `carried` describes if there is one."""
        if carried is None:
            return function(*args)
        from prefect.context import hydrated_context
        from prefect.logging.handlers import APILogWorker

        with hydrated_context(carried):
            try:
                return function(*args)
            finally:
                APILogWorker.drain_all(timeout=5)  # else what was logged is lost with the worker
