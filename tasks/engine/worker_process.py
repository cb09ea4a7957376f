"""The code that runs in a worker process, which keeps its models from one shard to the next.

Imports neither Ray nor Prefect, so that a worker starts quickly; only a call from a Prefect task imports Prefect.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

import cloudpickle

P = ParamSpec("P")
R = TypeVar("R")
_held: list[Any] = []
handed_on: dict[str, str] = {}
"""What workers get of this process's variables in their arguments: these hold keys, and Ray writes its runtime
environment into its logs."""


def held(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache the last `maxsize` results of a function in this process, until `forget_held`."""

    def hold(function: Callable[P, R]) -> Callable[P, R]:
        kept: Any = lru_cache(maxsize)(function)
        _held.append(kept)
        return kept

    return hold


def forget_held() -> None:
    """Empty all caches of this process, which mostly hold models."""
    for kept in _held:
        kept.cache_clear()


def call_pickled(config: dict[str, bytes]) -> None:
    """Call the function pickled as `call`; a process that only passes it on need not import its modules."""
    if "variables" in config:
        take_variables(cloudpickle.loads(config["variables"]))
    cloudpickle.loads(config["call"])()


def take_variables(variables: Mapping[str, str]) -> None:
    """Set variables in this process; fsspec, which reads its own when it is imported, reads them again."""
    os.environ.update(variables)
    if variables and "fsspec.config" in sys.modules:
        from fsspec.config import conf, set_conf_env

        set_conf_env(conf)


class WorkerProcess:
    """A worker process. It keeps what the last factory made, so a model is loaded once and not for every shard."""

    def __init__(self, threads: int, variables: Mapping[str, str] | None = None) -> None:
        take_variables(variables or {})
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
        """Free what the last factory made and call `forget`; imported modules stay."""
        self._work = self._factory = None
        if forget is not None:
            forget()
        gc.collect()

    def work(self, factory: bytes, shard: Any) -> Any:
        """Process a shard with the function that this factory makes; it is made anew if the last shard had another."""
        if self._work is None or factory != self._factory:
            self.rest()  # free the old model before the new one is loaded
            self._work = cloudpickle.loads(factory)()
            self._factory = factory
        assert self._work is not None
        return self._work(shard)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], carried: dict[str, Any] | None) -> Any:
        """Call a function, within the Prefect task or flow whose context is `carried`, if any."""
        if carried is None:
            return function(*args)
        from prefect.context import hydrated_context
        from prefect.logging.handlers import APILogWorker

        with hydrated_context(carried):
            try:
                return function(*args)
            finally:
                APILogWorker.drain_all(timeout=5)  # otherwise log lines are lost when the worker ends
