"""Deployments: registers what prefect.yaml declares, unless the server has it already from the same sources.

`python -m flows.local.deploying` imports the flows first, which takes as long as the server takes to start, and then
waits for a line on its input before it does what `prefect deploy --all` does. What was deployed is noted beside the
server's database: from which sources, and what the server then had.
"""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.flows import load_flow_from_entrypoint

from flows.local import schedules
from flows.local.layout import Layout, Note
from flows.local.processes import StartError, read_tail

NOTE = "deployed.json"
PACKAGES = ("flows", "tasks", "comem_core")  # where the flows and the types of their parameters are
DECLARED = (
    "name", "flow_id", "entrypoint", "path", "parameters", "parameter_openapi_schema", "enforce_parameter_schema",
    "description", "tags", "work_pool_name", "job_variables", "pull_steps", "paused",
)  # fmt: skip


def begin(layout: Layout, note: Note) -> "subprocess.Popen[bytes]":
    """Start the process that imports the flows and then waits to be told to deploy them."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    with _log(layout).open("wb") as file:
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
    """Register what prefect.yaml declares, with the parameters that the flows have now, if the server has it not yet.

    Raises StartError when that fails.
    """
    with SyncPrefectClient(note.api_url) as client:
        if begun is None and is_deployed(layout, client):
            say("the deployments are there as prefect.yaml declares them")
            return
        was_on = schedules.is_on(client)
    say("deploying what prefect.yaml declares")
    process = begun or begin(layout, note)
    try:
        process.communicate(b"deploy\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        raise StartError(f"deploying took more than {seconds:.0f} s. {_end_of_log(layout)}") from None
    finally:
        process.kill()
    if process.returncode:
        raise StartError(f"`prefect deploy --all` failed. {_end_of_log(layout)}")
    with SyncPrefectClient(note.api_url) as client:
        if was_on:  # prefect.yaml has it paused; whoever switched it on wants it on
            schedules.switch(client, on=True)
        (layout.home / NOTE).write_text(json.dumps(_facts(layout, client)))


def is_deployed(layout: Layout, client: SyncPrefectClient) -> bool:
    """Tell whether the server has what was deployed from the sources that are there now, and nobody changed it."""
    return _read_note(layout) == _facts(layout, client)


def is_noted(layout: Layout) -> bool:
    """Tell whether the last deployment was made from the sources that are there now."""
    return _read_note(layout).get("sources") == _sources(layout)


def _read_note(layout: Layout) -> dict[str, Any]:
    try:
        return json.loads((layout.home / NOTE).read_text())
    except (OSError, ValueError):
        return {}


def _facts(layout: Layout, client: SyncPrefectClient) -> dict[str, str]:
    """What decides whether there is something to deploy: the sources, and what the server has."""
    return {"sources": _sources(layout), "deployments": _deployments(client)}


def _sources(layout: Layout) -> str:
    """Hash prefect.yaml, the flows it names, all that may hold the types of their parameters, and Prefect's release."""
    declared = layout.root / "prefect.yaml"
    paths = {declared, *(layout.root / each.partition(":")[0] for each in _entrypoints(declared))}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec is not None and spec.origin is not None, package
        paths |= set(Path(spec.origin).parent.rglob("*.py"))
    digest = hashlib.sha256(version("prefect").encode())
    for path in sorted(paths):
        digest.update(f"\n{path}\n".encode() + (path.read_bytes() if path.exists() else b""))
    return digest.hexdigest()


def _deployments(client: SyncPrefectClient) -> str:
    """Hash the deployments that the server has, without what a run or a switched schedule changes."""
    found = []
    while page := client.read_deployments(limit=100, offset=len(found)):
        found += page
    told = [each.model_dump(mode="json", include=set(DECLARED)) for each in found]
    whens = [sorted(str(schedule.schedule) for schedule in each.schedules) for each in found]
    lines = sorted(json.dumps([one, when], sort_keys=True) for one, when in zip(told, whens, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _entrypoints(declared: Path) -> list[str]:
    return [each["entrypoint"] for each in yaml.safe_load(declared.read_text(encoding="utf-8"))["deployments"]]


def _log(layout: Layout) -> Path:
    return layout.logs / "deploy.log"


def _end_of_log(layout: Layout) -> str:
    return f"The end of {_log(layout)}:\n{read_tail(_log(layout), 40)}"


def main() -> None:
    """Import the flows, wait to be told, and deploy."""
    for entrypoint in dict.fromkeys(_entrypoints(Path("prefect.yaml"))):
        load_flow_from_entrypoint(entrypoint)
    if not sys.stdin.readline():
        return  # who started this has ended
    sys.argv = ["prefect", "--no-prompt", "deploy", "--all"]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()
