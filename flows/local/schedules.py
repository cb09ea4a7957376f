"""Schedules of deployments: paused until they are switched on; then they stay on after every later start."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

WEEKLY = "re-evaluate/weekly"


@dataclass(frozen=True, kw_only=True)
class Switched:
    """A deployment whose schedule is on, and the parameters of its scheduled runs besides the deployment's own."""

    deployment: str
    parameters: Mapping[str, Any]


def switch(
    client: SyncPrefectClient, deployment: str, *, on: bool, parameters: Mapping[str, Any] | None = None
) -> list[str]:
    """Switch a deployment's schedules on or off, and describe each. Scheduled runs get `parameters`, if they are given.

    Raises ValueError if it is not deployed, or declares no schedule.
    """
    found = _find_deployment(client, deployment)
    if found is None:
        raise ValueError(f"{deployment} is not deployed; `make serve` deploys what prefect.yaml declares")
    if not found.schedules:
        raise ValueError(f"{deployment} has no schedule; give it `schedules` in prefect.yaml, as {WEEKLY} has")
    for schedule in found.schedules:
        given = None if parameters is None else dict(parameters)
        client.update_deployment_schedule(found.id, schedule.id, active=on, parameters=given)
    return [_describe(each) for each in client.read_deployment_schedules(found.id)]


def _describe(schedule: DeploymentSchedule) -> str:
    when = schedule.schedule
    given = f", with {json.dumps(schedule.parameters, ensure_ascii=False)}" if schedule.parameters else ""
    return f"{getattr(when, 'cron', when)}, {getattr(when, 'timezone', None) or 'UTC'}{given}"


def list_switched(client: SyncPrefectClient, deployments: Iterable[str]) -> list[Switched]:
    """List those of the deployments whose schedule is on."""
    found = [(name, _find_deployment(client, name)) for name in deployments]
    return [
        Switched(deployment=name, parameters=schedule.parameters)
        for name, deployed in found
        for schedule in (deployed.schedules if deployed else ())[:1]
        if schedule.active
    ]


def _find_deployment(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None
