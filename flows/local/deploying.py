"""Deployments: registers those that prefect.yaml declares, unless the server already has them from the same sources.

`python -m flows.local.deploying` imports the flows while the server starts, which takes as long, and then waits for a
line on its input before it does what `prefect deploy --all` does. A note beside the server's database keeps hashes of
the sources and of the server's deployments.
"""

import hashlib
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.templating import apply_values

from comem_core.terminal import guard_output
from flows.local import schedules
from flows.local.layout import Layout, Note
from flows.local.processes import StartError, read_tail
from flows.local.servers import open_client

NOTE = "deployed.json"
TELL_SECONDS = 10
VARIABLES = ("COMEM_WORK_POOL", "COMEM_PROJECT")  # that prefect.yaml names
PACKAGES = ("flows", "tasks", "comem_core")  # where the flows and the types of their parameters are
DECLARED = (
    "name", "flow_id", "entrypoint", "path", "parameters", "parameter_openapi_schema", "enforce_parameter_schema",
    "description", "tags", "work_pool_name", "job_variables", "pull_steps", "paused",
)  # fmt: skip


def begin(layout: Layout, note: Note) -> "subprocess.Popen[bytes]":
    """Start the process that imports the flows and then waits for the line that lets it deploy them."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    with _find_log(layout).open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.local.deploying"],
            cwd=layout.root,
            env=layout.build_environment(os.environ, note.api_url),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def deploy(
    layout: Layout,
    note: Note,
    say: Callable[[str], None],
    *,
    begun: "subprocess.Popen[bytes] | None",
    seconds: float,
) -> None:
    """Register the deployments of prefect.yaml, with the flows' current parameters, if the server lacks them.

    Raises StartError if that fails.
    """
    with open_client(note.api_url) as client:
        if begun is None and is_deployed(layout, client):
            say("the server has the deployments of prefect.yaml")
            return
        switched = schedules.list_switched(client, list_scheduled(layout))
    say("deploying what prefect.yaml declares")
    process = begun or begin(layout, note)
    try:
        _let_deploy(process, say, seconds=seconds)
    except subprocess.TimeoutExpired:
        raise StartError(f"deploying took more than {seconds:.0f} s. {_quote_log(layout)}") from None
    finally:
        process.kill()
    if process.returncode:
        raise StartError(f"`prefect deploy --all` failed. {_quote_log(layout)}")
    with open_client(note.api_url) as client:
        for each in switched:  # prefect.yaml declares a schedule as paused, but a user had switched it on
            schedules.switch(client, each.deployment, on=True, parameters=each.parameters)
        (layout.home / NOTE).write_text(json.dumps(_hash_facts(layout, client)))


def _let_deploy(process: "subprocess.Popen[bytes]", say: Callable[[str], None], *, seconds: float) -> None:
    """Send the process its line and wait for its end, with a line every few seconds. Raises TimeoutExpired."""
    begun, line = time.monotonic(), b"deploy\n"
    while True:
        try:
            process.communicate(line, timeout=TELL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            line = None  # it is sent once
            taken = time.monotonic() - begun
            if taken > seconds:
                raise
            say(f"still importing the flows and registering them ({taken:.0f} s)")


def is_deployed(layout: Layout, client: SyncPrefectClient) -> bool:
    """Tell whether the server has, unchanged, the deployments of the current sources."""
    return _read_note(layout) == _hash_facts(layout, client)


def is_noted(layout: Layout) -> bool:
    """Tell whether the last deployment was made from the current sources."""
    return _read_note(layout).get("sources") == _hash_sources(layout)


def _read_note(layout: Layout) -> dict[str, Any]:
    try:
        return json.loads((layout.home / NOTE).read_text())
    except (OSError, ValueError):
        return {}


def _hash_facts(layout: Layout, client: SyncPrefectClient) -> dict[str, str]:
    """Hash what decides whether there is something to deploy: the sources, and the server's deployments."""
    return {"sources": _hash_sources(layout), "deployments": _hash_deployments(layout, client)}


def _hash_sources(layout: Layout) -> str:
    """Hash prefect.yaml with its variables, its flows, all modules that may define types of their parameters, and
    Prefect's version."""
    declared = layout.root / "prefect.yaml"
    paths = {declared, *(layout.root / each.partition(":")[0] for each in _list_entrypoints(declared))}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None, package
        paths |= set(Path(spec.origin).parent.rglob("*.py"))
    named = layout.build_environment(os.environ, None)
    digest = hashlib.sha256(f"{version('prefect')} {[named[each] for each in VARIABLES]}".encode())
    for path in sorted(paths):
        digest.update(f"\n{path}\n".encode() + (path.read_bytes() if path.exists() else b""))
    return digest.hexdigest()


def _hash_deployments(layout: Layout, client: SyncPrefectClient) -> str:
    """Hash the server's deployments of this project, without the fields that a run or a switched schedule changes."""
    found, ours = [], set(_list_entrypoints(layout.root / "prefect.yaml"))
    while page := client.read_deployments(limit=100, offset=len(found)):
        found += page
    found = [each for each in found if each.entrypoint in ours]
    told = [each.model_dump(mode="json", include=set(DECLARED)) for each in found]
    whens = [sorted(str(schedule.schedule) for schedule in each.schedules) for each in found]
    lines = sorted(json.dumps([one, when], sort_keys=True) for one, when in zip(told, whens, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_declared(declared: Path) -> list[dict[str, Any]]:
    return yaml.safe_load(declared.read_text(encoding="utf-8"))["deployments"]


def list_pools(layout: Layout) -> list[str]:
    """List the work pools that prefect.yaml names, each once; the variables in their names are filled in."""
    named = [each.get("work_pool", {}).get("name") for each in _read_declared(layout.root / "prefect.yaml")]
    return [str(apply_values(name, {})) for name in dict.fromkeys(named) if name]


def _list_entrypoints(declared: Path) -> list[str]:
    return [each["entrypoint"] for each in _read_declared(declared)]


def list_flows(layout: Layout) -> list[str]:
    """List the names of the flows of prefect.yaml, in order."""
    return sorted({_name_flow(each) for each in _list_entrypoints(layout.root / "prefect.yaml")})


def list_scheduled(layout: Layout) -> list[str]:
    """List the deployments of prefect.yaml that have a schedule, as `flow/name`."""
    declared = _read_declared(layout.root / "prefect.yaml")
    return [f"{_name_flow(each['entrypoint'])}/{each['name']}" for each in declared if each.get("schedules")]


def find_deployment(layout: Layout, deployment: str) -> tuple[str, dict[str, Any]]:
    """Return the entrypoint and the parameters of a deployment (`flow/name`) in prefect.yaml.

    Raises ValueError for an unknown name, with those that are declared.
    """
    declared = _read_declared(layout.root / "prefect.yaml")
    found = {f"{_name_flow(each['entrypoint'])}/{each['name']}": each for each in declared}
    if deployment not in found:
        raise ValueError(f"no deployment is named {deployment!r}; the deployments are {', '.join(sorted(found))}")
    return found[deployment]["entrypoint"], found[deployment].get("parameters") or {}


def _name_flow(entrypoint: str) -> str:
    return entrypoint.rpartition(":")[2].replace("_", "-")


def _find_log(layout: Layout) -> Path:
    return layout.logs / "deploy.log"


def _quote_log(layout: Layout) -> str:
    return f"The end of {_find_log(layout)}:\n{read_tail(_find_log(layout), 40)}"


def main() -> None:
    """Import the flows, wait for a line on the input, and deploy."""
    for entrypoint in dict.fromkeys(_list_entrypoints(Path("prefect.yaml"))):
        load_flow_from_entrypoint(entrypoint)
    if not sys.stdin.readline():
        return  # the process that started this one has ended
    sys.argv = ["prefect", "--no-prompt", "deploy", "--all"]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    guard_output()
    main()
