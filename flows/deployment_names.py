"""Teaches `prefect` in this folder two things: where `make serve` is up, and what a bare flow name means.

`prefect deployment run synth-and-train` runs that flow's default deployment: its only one, or the one tagged `default`.
Prefect offers a hook for the first; the second wraps one method of its client, in both of its forms. Knows no stage.
"""

import functools
import os
from collections.abc import Awaitable, Callable
from typing import Any

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


def _flow_named(name: str) -> FlowFilter:
    return FlowFilter(name=FlowFilterName(any_=[name]))


def _full_name(name: str, found: list[Any]) -> str:
    """Name a flow's default deployment in full; a name that is full, or that no flow has, stays as it is."""
    default = [each for each in found if "default" in each.tags] or found
    if len(default) > 1:
        names = ", ".join(sorted(f"{name}/{each.name}" for each in found))
        raise ValueError(f"{name} has several deployments and not one is tagged `default`; say which: {names}")
    return f"{name}/{default[0].name}" if default else name
