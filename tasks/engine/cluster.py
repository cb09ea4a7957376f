"""The Ray of a run: a local one, or a cluster, joined with the run's code and compared node by node before any work.

Workers on other nodes get this project's code through Ray's runtime environment. The libraries, the store's folder and
the models must be there already; a node that lacks one of them is named.
"""

import logging
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import GetTimeoutError, NodeDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from comem_core.tracking.choosing import PACKAGES as TRACKERS
from comem_core.tracking.choosing import choose_variables
from tasks.engine.address.nodes import LookAtStore, list_store_variables, mark_store
from tasks.engine.context import Context
from tasks.engine.reuse import DECIDING
from tasks.engine.worker_process import handed_on
from tasks.engine.workers import WORKER_ENVIRONMENT, Workers

PACKAGES = ("comem_core", "flows", "tasks", "warehouse")
CODE = "code of this project"
COMPARED = ("ray", *DECIDING)
# Variables of the run's process that its workers need; on other nodes they would have those of `ray start`. Workers get
# those that may hold a key in their arguments, because everybody on the cluster can read Ray's runtime environment.
FORWARDED = ("HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM")
WITH_KEYS = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
ANSWER_SECONDS = 10.0  # Ray itself tries an address where nobody answers for more than two minutes
LOOK_SECONDS = 120.0  # a node's first worker unpacks the code
Facts = Mapping[str, str]
Describe = Callable[[], Facts]


def wait_for_any(references: list[Any], *, seconds: float) -> list[Any]:
    """Return the references whose work has ended, the first at most, after `seconds` without one none.

    What a signal's handler raises, as a time limit or a cancellation of Prefect, is raised as it is; Ray makes it the
    cause of a SystemError (2.60; findings/ray_get_delays_signal_exceptions.sh).
    """
    try:
        return ray.wait(references, timeout=seconds)[0]
    except SystemError as error:
        raise error.__cause__ or error from None


def join_cluster(context: Context, describe: Describe | None = None) -> None:
    """Join the cluster at `ray_address` with this project's code, and check that its nodes fit the run.

    `describe` returns what must be the same on each node, such as a model's files, by name.

    Raises:
        ConnectionError: no cluster answers at the address, or this machine is not a node of it.
        ValueError: the address is one of Ray Client; or a node differs. The message names node, found and expected.
    """
    address = context.ray_address
    assert address is not None
    handed_on.clear()
    handed_on.update(list_variables_with_keys(context))
    _check_address(address)
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=True, runtime_env=build_environment())
    except Exception as error:
        raise ConnectionError(_explain(address, error)) from error
    check_nodes(context, describe)


def list_variables_with_keys(context: Context) -> dict[str, str]:
    """List the variables of this process that workers on other nodes need and nobody else may see: those of Prefect's
    server, of the tracker and of the store at an address."""
    named = {name: os.environ[name] for name in WITH_KEYS if name in os.environ}
    return named | choose_variables(context.tracker, os.environ) | list_store_variables(context)


def build_environment() -> dict[str, Any]:
    """Return Ray's runtime environment of a run on a cluster: the project's code, and variables of this process."""
    root = Path(__file__).parents[2]
    variables = WORKER_ENVIRONMENT | {name: os.environ[name] for name in FORWARDED if name in os.environ}
    return {"py_modules": [str(root / name) for name in PACKAGES], "env_vars": variables}


def _check_address(address: str) -> None:
    """Find out in seconds whether somebody answers; `auto` and `local` name no address."""
    if address.startswith("ray://"):
        raise ValueError(
            f"RAY_ADDRESS={address} is an address of Ray Client, which is not used here. Let this machine join the "
            "cluster as a node (`ray start --address=HOST:6379 --num-cpus=0`), and set RAY_ADDRESS=HOST:6379"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise ConnectionError(_explain(address, error)) from error
    if not _is_node(port):
        raise ConnectionError(
            f"something answers at RAY_ADDRESS={address}, but this machine is not a node of that cluster. Join it "
            f"first (docs/cluster.md), without CPUs if it does no work: `ray start --address={address} --num-cpus=0`"
        )


def _is_node(port: str) -> bool:
    """Tell whether a node of a cluster with this port runs on this machine; its host has many names.

    Ray itself crashes this process where there is none (Ray 2.60: "Failed to connect to socket").
    """
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "raylet":
            if not process.info["cmdline"]:
                return True  # another user's, which cannot be looked at
            told = dict(each.split("=", 1) for each in process.info["cmdline"] if "=" in each)
            is_same = told.get("--gcs-address", "").rpartition(":")[2] == port
            if is_same and os.path.exists(told.get("--raylet_socket_name", "")):
                return True
    return False


def _explain(address: str, error: Exception) -> str:
    """Say why the cluster cannot be joined, and what to do."""
    cause = str(error).strip()
    if "Version mismatch" in cause or "version mismatch" in cause:
        return (
            f"the cluster at RAY_ADDRESS={address} has another Ray or Python than this process: "
            f"{' '.join(cause.split())}. Use the versions of constraints.txt, or one image, on all nodes"
        )
    return (
        f"no Ray cluster answers at RAY_ADDRESS={address} ({cause}). Start one, or unset RAY_ADDRESS to use a "
        "local Ray. If the cluster asks for a token, set RAY_AUTH_MODE the same on both sides"
    )


def check_nodes(context: Context, describe: Describe | None = None) -> None:
    """Compare every node that can be given work with this process, and let it look into the store's folder.

    Raises ValueError that lists each node's differences.
    """
    nodes = [each for each in ray.nodes() if each["Alive"] and {"CPU", "GPU"} & each["Resources"].keys()]
    with mark_store(context) as look_at_store:
        trackers = (TRACKERS[context.tracker],) if context.tracker else ()
        look = _make_look(PACKAGES, (*COMPARED, *trackers), look_at_store)
        faults = _compare(nodes, look(), look)
    if not faults and describe is not None:  # the nodes have the code that this needs
        faults = _compare(nodes, describe(), describe)
    if faults:
        raise ValueError(
            f"the nodes of the cluster at RAY_ADDRESS={context.ray_address} do not fit this run:\n"
            + "\n".join(f"  - {each}" for each in faults)
            + "\nUse one image, or the versions of constraints.txt, on all nodes, and share the store's folder under "
            "one path, or its address (docs/cluster.md)"
        )


def _compare(nodes: list[dict[str, Any]], expected: Facts, describe: Describe) -> list[str]:
    """Ask all nodes at once, and say of each what differs from this process."""
    asked = [(_name_node(node), _ask(node, describe)) for node in nodes]
    faults = []
    for name, reference in asked:
        try:
            found: Facts = ray.get(reference, timeout=LOOK_SECONDS)  # pyright: ignore[reportAssignmentType]
        except GetTimeoutError:
            faults.append(f"node {name} does not answer within {LOOK_SECONDS:.0f} s; see `ray status`")
        except (TaskUnschedulableError, NodeDiedError):
            faults.append(f"node {name} has just left the cluster; start the run again")
        except RayError as error:
            faults.append(f"node {name} cannot run this project: {_shorten(error)}")
        else:
            faults += [
                f"node {name}: {what} is {found.get(what, 'unknown')}; expected {value}, as here"
                for what, value in expected.items()
                if found.get(what) != value
            ]
    return faults


def _name_node(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"


def _ask(node: dict[str, Any], describe: Describe) -> Any:
    def look() -> Facts:  # sent by value, and also wraps what is not a plain function
        return describe()

    where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(look).options(num_cpus=0, max_retries=0, scheduling_strategy=where).remote()


def _shorten(error: RayError) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _make_look(packages: tuple[str, ...], libraries: tuple[str, ...], look_at_store: LookAtStore) -> Describe:
    """Make the function that describes a node. It is sent by value, because a node may have no code of this project."""

    def look() -> Facts:
        import hashlib
        import sys
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec
        from pathlib import Path

        facts = {"Python": sys.version.split()[0]}
        for name in libraries:
            try:
                facts[name] = version(name).split("+")[0]  # the builds for CPU and GPU are the same version
            except PackageNotFoundError:
                facts[name] = "not installed"
        digest = hashlib.sha256()
        for name in packages:
            spec = find_spec(name)
            places = (spec and spec.submodule_search_locations) or []
            for folder in map(Path, places):
                for path in sorted(folder.rglob("*.py")):
                    digest.update(f"{name}/{path.relative_to(folder)}".encode() + path.read_bytes())
        facts["code of this project"] = digest.hexdigest()[:12]
        facts |= look_at_store()
        return facts

    return look


def start_local(context: Context, folder: str | None) -> None:
    """Start a local Ray with its files in a folder."""
    # Enough CPUs for workers and training together, so that workers can stay; the stages decide what runs at once.
    workers = Workers.of(context)
    logical = max(os.cpu_count() or 1, int(workers.num_actors * workers.cpus) + context.train_workers)
    # Ray Train looks for machines that a cloud takes back, in a process of its own; this one stays.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(
        address="local",
        num_cpus=logical,
        include_dashboard=False,
        logging_level=logging.WARNING,
        log_to_driver=False,  # a stage's own messages go through Prefect; Ray's messages stay in its log files
        object_store_memory=200 * 1024**2,
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
    )


def check_fits(workers: Workers) -> None:
    """Raise ValueError where all of Ray has fewer CPUs or GPUs than one worker needs."""
    has = ray.cluster_resources()
    for name, wanted in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        if wanted > has.get(name, 0):
            raise ValueError(
                f"one worker asks for {wanted:g} {name}, but Ray has {has.get(name, 0):g} in all. Lower "
                f"COMEM_{name}S_PER_ACTOR, or set RAY_ADDRESS to a cluster that has them"
            )


def describe_wait(workers: Workers) -> str:
    """Say what a worker waits for, and what the cluster has."""
    has, free = ray.cluster_resources(), ray.available_resources()
    nodes = sum(each["Alive"] for each in ray.nodes())
    told = ", ".join(f"{free.get(name, 0):g} of {has.get(name, 0):g} {name} free" for name in ("CPU", "GPU"))
    return (
        f"it needs {workers.cpus:g} CPU and {workers.gpus:g} GPU on one node; Ray has {nodes} nodes ({told}). "
        "A node that joins is used; fewer workers are asked for with COMEM_NUM_ACTORS"
    )
