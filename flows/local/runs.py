"""The flow runs of a local Prefect: which are under way, which of them are this folder's, and which were killed."""

import contextlib
import socket
from collections.abc import Callable

import httpx
import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from flows.local.layout import Layout, Note
from flows.local.processes import list_processes
from flows.local.servers import open_client

DEMO_TAG = "demo"


def list_unfinished(client: SyncPrefectClient, *types: StateType) -> list[FlowRun]:
    """List the flow runs in one of these states."""
    wanted = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(state=wanted))


def list_own_unfinished(layout: Layout, note: Note, client: SyncPrefectClient, *types: StateType) -> list[FlowRun]:
    """List the flow runs of this folder in one of these states: on a user's own server, those with a process here."""
    found = list_unfinished(client, *types)
    return [run for run in found if not note.url or list_processes(layout, str(run.id))]


def list_others(layout: Layout, note: Note) -> list[FlowRun]:
    """List this folder's unfinished flow runs that are not demos: asked for by hand, or begun by the schedule."""
    types = (StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED)
    with contextlib.suppress(httpx.HTTPError), open_client(note.api_url) as client:
        unfinished = list_own_unfinished(layout, note, client, *types)
        return [
            run
            for run in unfinished
            if DEMO_TAG not in run.tags and not (run.auto_scheduled and run.state_type == StateType.SCHEDULED)
        ]
    return []


def mark_crashed(layout: Layout, note: Note, say: Callable[[str], None]) -> None:
    """Mark runs as crashed that the server believes running but whose process is gone.

    A user's own server has runs of other machines too; there only the runs of a process that this machine had count.
    """
    with open_client(note.api_url) as client:
        for run in list_unfinished(client, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING):
            if _may_have_ended(run, note) and not list_processes(layout, str(run.id)):
                message = "its process was killed; a new run continues from the shards that it finished"
                client.set_flow_run_state(run.id, Crashed(message=message), force=True)
                say(f"the earlier run {run.name} was killed: marked Crashed")


def _may_have_ended(run: FlowRun, note: Note) -> bool:
    """Tell whether a run's process was on this machine; Prefect notes it as host:process, or as the process alone. The
    runs of a server of this folder's own are all of this machine."""
    host, _, pid = (run.infrastructure_pid or "").rpartition(":")
    was_here = host == socket.gethostname() and pid.isdecimal()
    if note.url:
        return was_here and not psutil.pid_exists(int(pid))
    return was_here or not host
