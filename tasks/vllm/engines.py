"""The engines of a stage on Ray: as many as it has workers, healthy before its work begins, and ended with the run.

An engine and a worker that only asks it hold together what one worker of another stage holds: half of its CPUs each,
and the engine its GPUs. Engines stay for the next stage if that asks the same model; they end when other workers are
needed.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayTaskError

from comem_core.synthesis.generator import ServerGone
from tasks.engine.cluster import describe_wait, wait_for_any
from tasks.engine.context import Context
from tasks.engine.on_ray import DIED, POLL_SECONDS, START_SECONDS, find_own_error, kept, kept_lock, release_workers
from tasks.engine.telling import get_stage_logger
from tasks.engine.workers import Kind, Workers
from tasks.vllm.process import END_SECONDS, EngineFailed, EngineOrder, EngineProcess

MAX_STARTS = 3  # of the engines of one stage, whose work goes on where a dead engine left it


@dataclass(frozen=True, kw_only=True)
class Engines:
    """Engines that run: their actors, their addresses up to `/v1`, and the key that they ask for."""

    order: EngineOrder
    actors: tuple[Any, ...]
    urls: tuple[str, ...]
    key: str = field(repr=False)


class _EngineActor(EngineProcess):
    def find_node(self) -> str:
        """Return the id of the node that this engine is on."""
        return ray.get_runtime_context().get_node_id()


def work_with_engines(order: EngineOrder, context: Context, work: Callable[[Engines, Context], None]) -> None:
    """Do the work while engines run. `work` gets them, and the context of workers that only ask: without GPUs.

    If an engine dies in the middle, all are started anew and the work is called again, which then goes on with what is
    missing: at most MAX_STARTS times.

    Raises:
        EngineFailed: an engine does not start; the message has the end of its log.
        ValueError: a node lacks vLLM or the model.
        ServerGone: engines died too often.
    """
    half = replace(context, cpus_per_actor=context.cpus_per_actor / 2)
    asking, order = replace(half, gpus_per_actor=0), replace(order, cpus=half.cpus_per_actor, gpus=half.gpus_per_actor)
    for start in range(1, MAX_STARTS + 1):
        engines = _take_kept(order) or _start(order, half)
        try:
            work(engines, asking)
        except ServerGone as gone:
            reason = _explain_end(engines, gone)
            _end(engines)
            if start == MAX_STARTS:
                raise
            get_stage_logger().warning("%s. Start %d of %d follows", reason, start + 1, MAX_STARTS)
        except BaseException:
            _end(engines)
            raise
        else:
            _keep(engines)
            return


def _start(order: EngineOrder, context: Context) -> Engines:
    release_workers()  # they hold GPUs, CPUs and memory
    workers, log = Workers.of(context), get_stage_logger()
    num = workers.num_actors
    if workers.gpus:
        num = max(1, min(num, int(ray.cluster_resources().get("GPU", 0) / workers.gpus)))
    with_gpus = f", each with {workers.gpus:g} GPU" if workers.gpus else ", without GPUs"
    log.info("vLLM %s: %d engines start for %s%s", order.version, num, order.model, with_gpus)
    started, key = time.monotonic(), secrets.token_urlsafe()
    actor: Any = ray.remote(_EngineActor).options(max_restarts=0, scheduling_strategy="SPREAD", **workers.resources)
    actors: tuple[Any, ...] = tuple(actor.remote() for _ in range(num))
    try:
        nodes = _wait_for([each.find_node.remote() for each in actors], workers)
        hosts = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
        pairs = zip(actors, nodes, strict=True)
        urls = _wait_for([each.start.remote(order, key, hosts[node]) for each, node in pairs], None)
    except BaseException:
        _kill(actors)
        raise
    log.info("vLLM %s is ready after %.0f s at %s", order.version, time.monotonic() - started, ", ".join(urls))
    return Engines(order=order, actors=actors, urls=tuple(urls), key=key)


def _wait_for(asked: list[Any], workers: Workers | None) -> list[Any]:
    """Return what all actors answer; with `workers`, say from time to time what those wait for that are not placed.

    Raises what one of them raises, or EngineFailed for an actor that dies.
    """
    waiting, told = asked, time.monotonic()
    while waiting:
        done = wait_for_any(waiting, seconds=POLL_SECONDS)
        waiting = [each for each in waiting if each not in done]
        try:
            ray.get(done)
        except RayTaskError as error:
            raise find_own_error(error) from error
        except DIED as error:
            raise EngineFailed(f"the worker of an engine died while it started: {error}") from error
        if time.monotonic() - told > START_SECONDS:
            told = time.monotonic()
            said = f"no room for an engine yet: {describe_wait(workers)}" if workers else "vLLM is not ready yet"
            get_stage_logger().info("%s", said)
    return ray.get(asked)


_left: list[Engines] = []  # those of the last stage; their actors are among the idle workers, and may have ended there


def _keep(engines: Engines) -> None:
    """Leave engines for the next stage. Whoever needs other workers ends their actors, which ends them."""
    with kept_lock:
        _left[:] = [engines]
        kept[_name_kind(engines)] = list(engines.actors)


def _take_kept(order: EngineOrder) -> Engines | None:
    """Return the engines of the last stage if they serve the same and still run."""
    with kept_lock:
        engines = _left.pop() if _left else None
        idle = kept.pop(_name_kind(engines), None) if engines else None
    if engines is None or idle is None:
        return None
    with contextlib.suppress(EngineFailed):
        if engines.order == order and tuple(_ask_urls(engines)) == engines.urls:
            return engines
    _end(engines)
    return None


def _name_kind(engines: Engines) -> Kind:
    return engines.order.cpus, engines.order.gpus, "engine"


def _ask_urls(engines: Engines) -> list[str]:
    return _wait_for([each.find_url.remote() for each in engines.actors], None)


def _explain_end(engines: Engines, gone: Exception) -> str:
    try:
        _ask_urls(engines)
    except EngineFailed as failed:
        return str(failed)
    return str(gone)


def _end(engines: Engines) -> None:
    """End engines, and wait until their processes are gone."""
    ray.wait([each.rest.remote() for each in engines.actors], num_returns=len(engines.actors), timeout=END_SECONDS)
    _kill(engines.actors)


def _kill(actors: Sequence[Any]) -> None:
    """Kill the actors; each one's server ends soon after it."""
    for each in actors:
        ray.kill(each)
