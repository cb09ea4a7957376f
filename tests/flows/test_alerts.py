"""Alerts on a real Prefect server: a dead run is called crashed, a living one is not, and a webhook is called."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Running

from flows.local.alerts import (
    DEAD,
    DRIFTED,
    FAILED,
    HEARTBEAT,
    check_address,
    find_dead_runs,
    list_calls,
    remove_all,
    save_webhook,
    set_up,
)
from flows.local.servers import open_client
from tasks.engine.telling import DRIFT_EVENT

FLOWS = ("ends-well", "ends-badly")
SILENCE = 12


@flow
def ends_well() -> Any:
    return Completed(name="Drifted")


@flow
def ends_badly() -> None:
    raise ValueError('a "quoted" <b> fault')


@flow
def another_flow() -> None:
    raise ValueError("of somebody else")


@pytest.fixture(scope="module")
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with open_client(PREFECT_API_URL.value() or "") as client:
        yield client
        remove_all(client)


@pytest.fixture
def received() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a receiver, and what it received."""
    found: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret-path", found
        server.shutdown()


def wait_for(is_so: Callable[[], bool], *, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (found := is_so()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


@pytest.mark.parametrize(
    "address", ["", "secret", "ftp://x/secret", "https://", "https://exa mple/secret", "http:///secret"]
)
def test_what_is_no_address_of_a_webhook_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match="COMEM_WEBHOOK is not the address of a webhook") as refused:
        check_address(address)
    assert "secret" not in str(refused.value)


def test_an_address_or_none_is_accepted() -> None:
    for address in (None, "https://hooks.example.org/a?b=c", "http://127.0.0.1:80/x"):
        check_address(address)


def test_setting_up_again_changes_nothing_unless_something_is_other(client: SyncPrefectClient) -> None:
    automation = find_dead_runs(FLOWS)
    assert set_up(client, automation) and not set_up(client, automation)
    assert set_up(client, find_dead_runs(FLOWS, silence=timedelta(minutes=20)))
    assert len(client.read_automations_by_name(DEAD)) == 1
    assert remove_all(client) == [DEAD] and remove_all(client) == []


def test_a_webhook_is_called_once_for_each_moved_score_and_failed_run_of_ours(
    client: SyncPrefectClient, received: tuple[str, list[dict[str, Any]]]
) -> None:
    address, found = received
    webhook = save_webhook(PREFECT_API_URL.value() or "", address)
    for automation in list_calls(FLOWS, webhook):
        assert set_up(client, automation)
        assert "secret-path" not in repr(client.read_automations_by_name(automation.name))
    time.sleep(3)  # until the server's triggers know of it
    another_flow(return_state=True)
    ends_well(return_state=True)
    resource = {"prefect.resource.id": "comem.evaluation.tiny.x", "prefect.resource.name": 'tiny on "x"'}
    emit_event(
        event=DRIFT_EVENT, resource=resource, payload={"page": "http://pages/p.html", "moved": [{"word": "worse"}]}
    )
    assert wait_for(lambda: len(found) == 1, seconds=60)
    assert found[0] == {
        "text": 'A score moved: tiny on "x". http://pages/p.html',
        "event": DRIFT_EVENT,
        "payload": {"page": "http://pages/p.html", "moved": [{"word": "worse"}]},
    }
    ends_badly(return_state=True)
    assert wait_for(lambda: len(found) > 1, seconds=60)
    assert found[1]["event"] == "prefect.flow-run.Failed"
    assert "of ends-badly: Failed." in found[1]["text"] and found[1]["text"].endswith(
        'ValueError: a "quoted" <b> fault'
    )
    assert "somebody else" not in json.dumps(found)
    assert remove_all(client) == [DRIFTED, FAILED]


def find_states(client: SyncPrefectClient, *runs: FlowRun) -> list[str | None]:
    return [client.read_flow_run(each.id).state_name for each in runs]


def give_heartbeat(run: FlowRun, flow_name: str) -> None:
    related = {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow"}
    emit_event(
        event=HEARTBEAT,
        resource={"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name},
        related=[related | {"prefect.resource.name": flow_name}],
    )


@pytest.mark.slow
def test_a_dead_run_is_called_crashed_and_living_ended_and_other_runs_are_not(client: SyncPrefectClient) -> None:
    assert set_up(client, find_dead_runs(FLOWS, silence=timedelta(seconds=SILENCE)))
    time.sleep(3)
    ended = ends_well(return_state=True)
    alive, foreign = (client.create_flow_run(each, state=Running()) for each in (ends_well, another_flow))
    program = "import os, signal, time; from prefect import flow\n"
    program += "@flow\ndef ends_well():\n    time.sleep(3); os.kill(os.getpid(), signal.SIGKILL)\nends_well()"
    environment = os.environ | {"PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == -9
    [dead] = [
        each
        for each in client.read_flow_runs()
        if each.state_name == "Running" and each.id not in (alive.id, foreign.id)
    ]
    give_heartbeat(foreign, "another-flow")
    for _ in range(8):  # four times the silence, with pauses of half of it
        give_heartbeat(alive, "ends-well")
        time.sleep(SILENCE / 2)
    assert find_states(client, alive, foreign, dead) == ["Running", "Running", "Crashed"]
    crashed = client.read_flow_run(dead.id).state
    assert crashed is not None and "no sign of life" in (crashed.message or "")
    assert client.read_flow_run(ended.state_details.flow_run_id).state_name == "Drifted"
    assert wait_for(lambda: find_states(client, alive) == ["Crashed"], seconds=5 * SILENCE)
    assert find_states(client, foreign) == ["Running"]
