"""The commands demo, serve, stop, status and schedule, and the messages that they print."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType

from flows.local import alerts, runs, service
from flows.local.deploying import find_deployment, list_flows
from flows.local.following import GIGABYTE, Meter, Voice, cancel, follow, shorten_message
from flows.local.layout import Layout, Note
from flows.local.parameters import read_parameters
from flows.local.processes import StartError, list_processes
from flows.local.results import describe_results
from flows.local.schedules import switch
from flows.local.servers import check_server, open_client
from tasks.engine.context import Context
from tasks.engine.store import Store

NOTHING_KEPT = "NothingKept"  # as `tasks.evaluation.ending` names it, which takes seconds to import


def demo(layout: Layout, arguments: argparse.Namespace) -> int:
    """Start everything, run a deployment once, follow it, show its results, and end everything that was started."""
    context = Context.from_environment()
    context.check()
    parameters = _read_parameters(layout, arguments)
    voice = Voice()
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    try:
        with service.keep_up(layout, voice.say, keep=arguments.keep) as note:
            return _run_demo(layout, note, voice, arguments.deployment, parameters)
    except KeyboardInterrupt:
        voice.end_clock()
        if not _stop_was_clean(layout):
            voice.say("killing everything that was started")
            service.kill(layout)
        voice.say("interrupted; `make demo` again continues from the finished shards")
        return 130


def _stop_was_clean(layout: Layout) -> bool:
    """Tell whether the first Ctrl-C ended everything, except what serve or another demo still needs."""
    note = layout.read_note()
    return not list_processes(layout) if note is None else bool(note.keep or note.users)


def _run_demo(layout: Layout, note: Note, voice: Voice, deployment: str, parameters: dict[str, Any]) -> int:
    with open_client(note.api_url) as client:
        run = find_or_create(client, deployment, voice.say, parameters)
    place = Store.of(Context.from_environment()).place
    voice.say(f"watch it at {note.ui_url}/runs/flow-run/{run.id}; results go to {place}")
    try:
        meter = Meter(layout)
        ended = follow(note, layout, run.id, voice=voice, meter=meter)
    except KeyboardInterrupt as interrupt:
        voice.end_clock()
        why = str(interrupt) or "Ctrl-C"
        voice.say(f"{why}: cancelling the run and ending everything that was started ({why} again kills it at once)")
        cancel(note, run.id, why=why)
        raise
    meter.write(voice.seconds)
    return _show_outcome(ended, note, voice, meter=meter)


def _show_outcome(ended: FlowRun, note: Note, voice: Voice, *, meter: Meter) -> int:
    if ended.state is not None and ended.state.name == NOTHING_KEPT:
        print(ended.state.message)
        return 1
    if ended.state is None or not ended.state.is_completed():
        voice.say(f"the run ended {ended.state_name}: {shorten_message(ended.state.message if ended.state else None)}")
        voice.say("`make demo` again continues from the finished shards")
        return 1
    context = Context.from_environment()
    if note.keep:  # otherwise the pages are not served any more when this demo has ended
        context = replace(context, pages_url=context.pages_url or note.pages_url)
    for line in describe_results(context, ended.id):
        print(line)
    print(f"took {voice.seconds:.0f} s and at most {meter.peak / GIGABYTE:.1f} GB of memory\n")
    print(_describe_next(note, ended), flush=True)
    return 0


def _describe_next(note: Note, ended: FlowRun) -> str:
    """Describe what a user may do with what the demo left."""
    served = "" if note.keep else ", once `make serve` has started its server again"
    return f"""what to do next:
  open the report page in a browser: the scores with their intervals, and questions with what they were shown
  make serve-memory                                ask the memory questions about pictures, in a browser
  make plan ARGS="-p knowledge=/path/to/folder"    show what a run with your own pictures and texts would do
  make demo                                        once more: all that has not changed is reused
The run in Prefect: {note.ui_url}/runs/flow-run/{ended.id}{served}"""


def find_or_create(
    client: SyncPrefectClient, deployment: str, say: Callable[[str], None], parameters: dict[str, Any] | None = None
) -> FlowRun:
    """Return the demo's unfinished run with these parameters, or start a new one."""
    found = client.read_deployment_by_name(deployment)
    wanted = json.loads(json.dumps(found.parameters | (parameters or {})))
    for run in runs.list_unfinished(client, StateType.RUNNING, StateType.PENDING, StateType.SCHEDULED):
        if runs.DEMO_TAG not in run.tags or run.deployment_id != found.id:
            continue
        if run.parameters == wanted:
            say(f"following the run {run.name}, which is still under way")
            return run
        say(f"the run {run.name} is still under way with other parameters: {json.dumps(run.parameters)}")
    run = client.create_flow_run_from_deployment(found.id, tags=[runs.DEMO_TAG], parameters=parameters)
    say(f"started {deployment}: flow run {run.name}")
    return run


def serve(layout: Layout, arguments: argparse.Namespace) -> int:
    """Keep server, worker and deployments running in the background, and print how to use them."""
    Context.from_environment().check()
    voice = Voice()
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    with service.keep_up(layout, voice.say, keep=True) as note, open_client(note.api_url) as client:
        alerts.set_up(client, alerts.find_dead_runs(list_flows(layout)))
    command = Path(sys.executable).parent / "prefect"
    shown = command.relative_to(layout.root) if command.is_relative_to(layout.root) else command
    ended = (
        "`make stop` ends the worker; your server and its deployments stay." if note.url else "End it with `make stop`."
    )
    pages = f"; the pages of runs are at {note.pages_url}" if note.pages_url else ""
    print(f"""
Up at {note.ui_url}{pages}. In this folder:

    {shown} deployment run synth-and-train
    {shown} deployment run re-evaluate/weekly
    {shown} flow-run ls

From any other folder, first:  export PREFECT_API_URL={note.api_url}
{ended}""")
    return 0


def stop(layout: Layout, arguments: argparse.Namespace) -> int:
    """End everything that serve or an interrupted demo left running."""
    voice = Voice()
    with service.hold_lock(layout):
        note = layout.read_note()
        if note is None and not list_processes(layout):
            voice.say("nothing is up")
            return 0
        if layout.asked and note is not None and note.url is None:
            voice.say(f"the server at {layout.asked} is not this folder's: only the local one is ended")
        service.shut_down(layout, note, voice.say)
    if left := list_processes(layout):
        raise StartError(f"still there after SIGKILL: {', '.join(str(process.pid) for process in left)}")
    voice.say("everything has ended")
    return 0


def status(layout: Layout, arguments: argparse.Namespace) -> int:
    """Print what is running and which runs are under way."""
    note = layout.read_note()
    if note is None:
        print(
            f"nothing is up; `make serve` will use your Prefect server at {layout.asked}"
            if layout.asked
            else "nothing is up"
        )
        return 0
    if note.url:
        check_server(note.url)
    worker = ("up" if note.worker.is_alive() else "down") if note.worker else "none here"
    whose = "yours" if note.url else "of this folder"
    is_up = "up" if note.url or service.is_healthy(note) else "not answering"
    print(f"Prefect server ({whose}): {note.ui_url} ({is_up}); worker: {worker}")
    if note.pages is not None and note.pages.is_alive():
        print(f"pages of the store: {note.pages_url}")
    with open_client(note.api_url) as client:
        for run in runs.list_own_unfinished(layout, note, client, StateType.RUNNING, StateType.PENDING):
            print(f"flow run {run.name}: {run.state_name}")
        scheduled = runs.list_unfinished(client, StateType.SCHEDULED)
    print(f"scheduled flow runs{' of the whole server' if note.url else ''}: {len(scheduled)}")
    return 0


def schedule(layout: Layout, arguments: argparse.Namespace) -> int:
    """Switch the schedule of a deployment on or off."""
    parameters = _read_parameters(layout, arguments)
    note = layout.read_note()
    if note is None:
        raise ValueError("nothing is up, so there is no schedule to switch; run `make serve` first")
    with open_client(note.api_url) as client:
        lines = switch(client, arguments.deployment, on=arguments.switch == "on", parameters=parameters or None)
    where = f" on {note.whose} at {note.ui_url}" if note.url else ""
    when = f" ({'; '.join(lines)}); it runs while `make serve` is up" if arguments.switch == "on" else ""
    print(f"{arguments.deployment} is {arguments.switch}{where}{when}")
    return 0


def alert(layout: Layout, arguments: argparse.Namespace) -> int:
    """Let the Prefect server call a webhook when a score moved or a run failed, and mark dead runs as crashed."""
    address, note = os.environ.get(alerts.WEBHOOK), layout.read_note()
    alerts.check_address(address)
    api_url = layout.asked or (note.api_url if note else None)
    if api_url is None:
        raise ValueError("nothing is up, so there is no server to set alerts on; run `make serve` first")
    if layout.asked:
        check_server(api_url)
    with open_client(api_url) as client:
        if arguments.switch == "off":
            print(f"removed: {', '.join(alerts.remove_all(client)) or 'nothing, for there were no alerts'}")
            return 0
        for line in alerts.set_all(client, api_url, list_flows(layout), address):
            print(line)
    return 0


def _read_parameters(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters for a deployment as they are sent. Raises ValueError for a deployment that is not declared,
    or that lists every fault."""
    parameters = read_parameters(arguments.parameters)
    entrypoint, own = find_deployment(layout, arguments.deployment)
    if not parameters:
        return {}
    from flows.checking import check_deployment  # takes seconds, because it imports what flows import

    whole = check_deployment(layout.root, entrypoint, own | parameters)
    return {name: whole[name] for name in parameters}


def interrupt_on(*signals: signal.Signals) -> None:
    """Let these signals do what Ctrl-C does, so that a `kill` also leaves nothing running; the error has their name."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    for number in signals:
        signal.signal(number, interrupt)
