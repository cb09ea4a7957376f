"""A plugin for `prefect` in this folder: it finds the local server, reads bare flow names, and checks parameters.

The server is the one that `make serve` keeps up. `prefect deployment run synth-and-train` runs that flow's default
deployment: its only one, or the one tagged `default`. Parameters are checked by the flow's own rules before a run is
created. With `--watch`, the command ends with the run's results, where they are on this machine. Prefect offers a hook
for the server; the others wrap methods of its client, sync and async. Imports no stage.
"""

import atexit
import functools
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from prefect.client.orchestration._deployments.client import DeploymentAsyncClient, DeploymentClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.plugins import HookContext, SetupResult, register_hook
from prefect.settings import get_current_settings

from comem_core.terminal import escape_controls
from flows.local.layout import POOL, Layout


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Accept bare flow names, check parameters, and use the local server if it is up and the shell names no other."""
    if not hasattr(DeploymentClient.read_deployment_by_name, "__wrapped__"):
        DeploymentClient.read_deployment_by_name = _read_bare_names(DeploymentClient.read_deployment_by_name)
        DeploymentAsyncClient.read_deployment_by_name = _read_bare_names_async(
            DeploymentAsyncClient.read_deployment_by_name
        )
        DeploymentClient.create_flow_run_from_deployment = _check_first(
            DeploymentClient.create_flow_run_from_deployment
        )
        DeploymentAsyncClient.create_flow_run_from_deployment = _check_first_async(
            DeploymentAsyncClient.create_flow_run_from_deployment
        )
    try:
        layout = Layout.find()
    except ValueError:
        return None
    note, named = layout.read_note(), {"COMEM_WORK_POOL": POOL, "COMEM_PROJECT": str(layout.root)}
    env = {name: value for name, value in named.items() if name not in os.environ}  # for `prefect deploy`
    if note is None and sys.argv[1:3] == ["deployment", "run"] and not _has_server():
        _end_command(ValueError("no server is up, so no run can be created; run `make serve` first"))
    if note is None or "PREFECT_API_URL" in os.environ:
        return SetupResult(env=env)
    return SetupResult(env=env | {"PREFECT_API_URL": note.api_url}, note=f"{note.whose} at {note.ui_url}")


def _has_server() -> bool:
    """Tell whether the shell, a profile or a file of Prefect's names a server."""
    return get_current_settings().api.url is not None


def _read_bare_names(read: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(read)
    def read_deployment_by_name(self: Any, name: str) -> Any:
        found = [] if "/" in name else self.read_deployments(flow_filter=_filter_by_name(name))
        return read(self, _complete_name(name, found))

    return read_deployment_by_name


def _read_bare_names_async(read: Callable[..., Awaitable[Any]]) -> Any:
    @functools.wraps(read)
    async def read_deployment_by_name(self: Any, name: str) -> Any:
        found = [] if "/" in name else await self.read_deployments(flow_filter=_filter_by_name(name))
        return await read(self, _complete_name(name, found))

    return read_deployment_by_name


def _check_first(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def create_flow_run_from_deployment(self: Any, deployment_id: Any, **asked: Any) -> Any:
        if asked.get("parameters"):
            asked["parameters"] = _check(self.read_deployment(deployment_id), asked["parameters"])
        return _tell_at_the_end(create(self, deployment_id, **asked))

    return create_flow_run_from_deployment


def _check_first_async(create: Callable[..., Awaitable[Any]]) -> Any:
    @functools.wraps(create)
    async def create_flow_run_from_deployment(self: Any, deployment_id: Any, **asked: Any) -> Any:
        if asked.get("parameters"):
            asked["parameters"] = _check(await self.read_deployment(deployment_id), asked["parameters"])
        return _tell_at_the_end(await create(self, deployment_id, **asked))

    return create_flow_run_from_deployment


def _check(deployment: Any, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check parameters if the deployment's flow is in this project, and return them as they are sent.

    Raises ValueError that lists every fault.
    """
    root = Layout.find().root
    if not deployment.entrypoint or not (root / deployment.entrypoint.rpartition(":")[0]).is_file():
        return parameters
    from flows.checking import check_deployment  # takes seconds, because it imports what flows import

    try:
        whole = check_deployment(root, deployment.entrypoint, deployment.parameters | parameters)
    except ValueError as error:
        if sys.argv[1:3] != ["deployment", "run"]:
            raise
        _end_command(error)
    return {name: whole[name] for name in parameters}


def _tell_at_the_end(run: Any) -> Any:
    """Let `prefect deployment run --watch`, which shows no log, print what a run that it waited for has left."""
    if sys.argv[1:3] == ["deployment", "run"] and "--watch" in sys.argv:
        atexit.register(_print_results, run.id)
    return run


def _print_results(flow_run_id: Any) -> None:
    from flows.local.results import describe_results, has_completed  # takes seconds, which only this command needs
    from tasks.engine.context import Context

    try:
        note = Layout.find().read_note()
        context = Context.from_environment()
        context = replace(context, pages_url=context.pages_url or (note and note.pages_url))
        if has_completed(context, flow_run_id):
            print(*map(escape_controls, describe_results(context, flow_run_id)), sep="\n")
    except ValueError as error:
        print(escape_controls(f"the results cannot be shown: {error}"), file=sys.stderr)


def _end_command(error: ValueError) -> NoReturn:
    """End the command `prefect` with the message only; by default it would show a traceback."""
    print(escape_controls(f"error: {error}"), file=sys.stderr)
    raise SystemExit(2)


def _filter_by_name(name: str) -> FlowFilter:
    return FlowFilter(name=FlowFilterName(any_=[name]))


def _complete_name(name: str, found: list[Any]) -> str:
    """Return the full name of a flow's default deployment; a full or unknown name is returned unchanged."""
    default = [each for each in found if "default" in each.tags] or found
    if len(default) > 1:
        names = ", ".join(sorted(f"{name}/{each.name}" for each in found))
        raise ValueError(f"{name} has several deployments and none is tagged `default`; choose one of: {names}")
    return f"{name}/{default[0].name}" if default else name
