"""The schedule of `re-evaluate/weekly`: paused until it is switched on; then it stays on after every later start."""

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

SCHEDULED = "re-evaluate/weekly"


def switch(client: SyncPrefectClient, *, on: bool) -> list[str]:
    """Switch the schedule on or off, and return its cron lines. Raises ValueError if it is not deployed."""
    found = _find_deployment(client)
    if found is None:
        raise ValueError(f"{SCHEDULED} is not deployed; `make serve` deploys it")
    lines = []
    for schedule in found.schedules:
        client.update_deployment_schedule(found.id, schedule.id, active=on)
        lines.append(getattr(schedule.schedule, "cron", str(schedule.schedule)))
    return lines


def is_on(client: SyncPrefectClient) -> bool:
    """Tell whether the schedule exists and is switched on."""
    found = _find_deployment(client)
    return found is not None and any(schedule.active for schedule in found.schedules)


def _find_deployment(client: SyncPrefectClient) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(SCHEDULED)
    except ObjectNotFound:
        return None
