"""Teaches `prefect` in this folder where `make serve` is up, what a bare flow name means, and what a flow can be asked.

`prefect deployment run synth-and-train` runs that flow's default deployment: its only one, or the one tagged `default`.
Parameters are checked before a run is made, by the flow's own rules. Prefect offers a hook for the first; the others
wrap two methods of its client, in both of their forms. Knows no stage.
"""

import functools
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from prefect.client.orchestration._deployments.client import DeploymentAsyncClient, DeploymentClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.plugins import HookContext, SetupResult, register_hook

from flows.local.layout import Layout


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Let bare flow names be read, and use the local server if one is up and the shell names no other."""
    if not hasattr(DeploymentClient.read_deployment_by_name, "__wrapped__"):
        DeploymentClient.read_deployment_by_name = _reading_bare_names(DeploymentClient.read_deployment_by_name)
        DeploymentAsyncClient.read_deployment_by_name = _reading_bare_names_async(
            DeploymentAsyncClient.read_deployment_by_name
        )
        DeploymentClient.create_flow_run_from_deployment = _checking(DeploymentClient.create_flow_run_from_deployment)
        DeploymentAsyncClient.create_flow_run_from_deployment = _checking_async(
            DeploymentAsyncClient.create_flow_run_from_deployment
        )
    try:
        note = Layout.find().read_note()
    except ValueError:
        return None
    if note is None or "PREFECT_API_URL" in os.environ:
        return None
    return SetupResult(env={"PREFECT_API_URL": note.api_url}, note=f"the local server at {note.ui_url}")


def _reading_bare_names(read: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(read)
    def read_deployment_by_name(self: Any, name: str) -> Any:
        found = [] if "/" in name else self.read_deployments(flow_filter=_flow_named(name))
        return read(self, _full_name(name, found))

    return read_deployment_by_name


def _reading_bare_names_async(read: Callable[..., Awaitable[Any]]) -> Any:
    @functools.wraps(read)
    async def read_deployment_by_name(self: Any, name: str) -> Any:
        found = [] if "/" in name else await self.read_deployments(flow_filter=_flow_named(name))
        return await read(self, _full_name(name, found))

    return read_deployment_by_name


def _checking(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def create_flow_run_from_deployment(self: Any, deployment_id: Any, **asked: Any) -> Any:
        if asked.get("parameters"):
            _check(self.read_deployment(deployment_id), asked["parameters"])
        return create(self, deployment_id, **asked)

    return create_flow_run_from_deployment


def _checking_async(create: Callable[..., Awaitable[Any]]) -> Any:
    @functools.wraps(create)
    async def create_flow_run_from_deployment(self: Any, deployment_id: Any, **asked: Any) -> Any:
        if asked.get("parameters"):
            _check(await self.read_deployment(deployment_id), asked["parameters"])
        return await create(self, deployment_id, **asked)

    return create_flow_run_from_deployment


def _check(deployment: Any, parameters: Mapping[str, Any]) -> None:
    """Check parameters, where the deployment's flow is in this project. Raises ValueError that lists every fault."""
    root = Layout.find().root
    if not deployment.entrypoint or not (root / deployment.entrypoint.rpartition(":")[0]).is_file():
        return
    from flows.checking import check_deployment  # takes seconds, as it takes what a flow takes

    try:
        check_deployment(root, deployment.entrypoint, deployment.parameters | parameters)
    except ValueError as error:
        if sys.argv[1:3] != ["deployment", "run"]:
            raise
        _end_command(error)


def _end_command(error: ValueError) -> NoReturn:
    """End the command line's `prefect` with the message alone: it would show a traceback."""
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(2)


def _flow_named(name: str) -> FlowFilter:
    return FlowFilter(name=FlowFilterName(any_=[name]))


def _full_name(name: str, found: list[Any]) -> str:
    """Name a flow's default deployment in full; a name that is full, or that no flow has, stays as it is."""
    default = [each for each in found if "default" in each.tags] or found
    if len(default) > 1:
        names = ", ".join(sorted(f"{name}/{each.name}" for each in found))
        raise ValueError(f"{name} has several deployments and not one is tagged `default`; say which: {names}")
    return f"{name}/{default[0].name}" if default else name
