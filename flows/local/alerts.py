"""Alerts: automations on the Prefect server that mark dead runs as crashed, and that call a webhook when it matters.

A run is dead when it gave a heartbeat, and then nothing at all for a quarter of an hour. Heartbeats come every three
minutes, from a thread of their own, so a busy process is not taken for a dead one. Events are named after the name of a
state and not its type, so a run of ours may also end with `Drifted`: any event of a run is a sign of life.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from tasks.engine.telling import DRIFT_EVENT

SILENCE = timedelta(minutes=15)
DEAD, DRIFTED, FAILED = "comem: a dead run", "comem: a score moved", "comem: a run failed"
BLOCK, WEBHOOK = "comem-alerts", "COMEM_WEBHOOK"
HEARTBEAT, ANY, ENDED_BADLY = (
    "prefect.flow-run.heartbeat",
    "prefect.flow-run.*",
    {f"prefect.flow-run.{name}" for name in ("Failed", "Crashed", "TimedOut")},
)
# JSON with a `text`, as chats expect it. These are Prefect's templates: `tojson` quotes what a run says.
SCORE_MOVED = """{"text": {{ ("A score moved: " ~ event.resource.name ~ ". " ~ event.payload.page) | tojson }},
"event": {{ event.event | tojson }}, "payload": {{ event.payload | tojson }}}"""
RUN_FAILED = """{"text": {{ ("Run " ~ event.resource.name ~ " of " ~ flow.name ~ ": " ~ flow_run.state.name ~ ". "
~ (flow_run.state.message or "")) | tojson }},
"event": {{ event.event | tojson }}, "run": {{ flow_run | ui_url | tojson }}}"""


def find_dead_runs(flows: Sequence[str], *, silence: timedelta = SILENCE) -> AutomationCore:
    """Return the automation that marks runs of these flows as crashed when they are silent for too long."""
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": [ANY]}),
        match_related=_match_flows(flows),
        after={HEARTBEAT},
        expect={ANY},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=silence,
    )
    minutes = f"{silence.total_seconds() / 60:g} minutes"
    message = f"no sign of life for {minutes}; the same run again goes on where it was"
    crash = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=message, force=False)
    description = f"A run of {', '.join(flows)} sent a heartbeat, and then nothing for {minutes} (make serve)."
    return AutomationCore(name=DEAD, description=description, trigger=trigger, actions=[crash])


def list_calls(flows: Sequence[str], webhook: UUID) -> Iterator[AutomationCore]:
    """Yield the automations that call a webhook: a score moved, or a run of these flows failed or crashed."""
    moved = EventTrigger(expect={DRIFT_EVENT}, posture=Posture.Reactive, threshold=1)
    failed = EventTrigger(expect=ENDED_BADLY, match_related=_match_flows(flows), posture=Posture.Reactive, threshold=1)
    for name, when, trigger, payload in (
        (DRIFTED, "A re-evaluation found a score that moved", moved, SCORE_MOVED),
        (FAILED, f"A run of {', '.join(flows)} failed, crashed or timed out", failed, RUN_FAILED),
    ):
        call = CallWebhook(block_document_id=webhook, payload=payload)
        yield AutomationCore(name=name, description=f"{when} (make alert).", trigger=trigger, actions=[call])


def _match_flows(flows: Sequence[str]) -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.role": "flow", "prefect.resource.name": list(flows)})


def check_address(address: str | None) -> None:
    """Raise ValueError for what is not the address of a webhook. The message does not repeat it: it may be a key."""
    parts = urlsplit("https://none" if address is None else address)
    is_whole = parts.scheme in ("http", "https") and parts.hostname and not set(address or "") & set(" \n\t")
    if not is_whole:
        raise ValueError(
            f"{WEBHOOK} is not the address of a webhook; expected one that begins with https:// or http://"
        )


def save_webhook(api_url: str, address: str) -> UUID:
    """Save the address of the webhook, which may be a secret, on the server, and return the id that automations use."""
    with temporary_settings({PREFECT_API_URL: api_url}):
        saved = Webhook(url=SecretStr(address)).save(BLOCK, overwrite=True)
    assert isinstance(saved, UUID)  # a coroutine only in an event loop
    return saved


def set_up(client: SyncPrefectClient, automation: AutomationCore) -> bool:
    """Create an automation, or make the one of this name be like it; tell whether anything changed."""
    known = client.read_automations_by_name(automation.name)
    same = [each for each in known if AutomationCore(**each.model_dump()) == automation]
    if len(known) == 1 and same:
        return False
    for each in known:
        client.delete_automation(each.id)
    client.create_automation(automation)
    return True


def set_all(client: SyncPrefectClient, api_url: str, flows: Sequence[str], address: str | None) -> Iterator[str]:
    """Set up the alerts for these flows, those that call a webhook only with its address, and describe each."""
    calls = [] if address is None else list(list_calls(flows, save_webhook(api_url, address)))
    for automation in (find_dead_runs(flows), *calls):
        yield f"{automation.name}: {'set up' if set_up(client, automation) else 'is as it was'}"
    if address is not None:
        yield f"the address is kept on the server, as the block webhook/{BLOCK}"
    elif known := [name for name in (DRIFTED, FAILED) if client.read_automations_by_name(name)]:
        yield f"{', '.join(known)}: still call the address that was given before"
    else:
        yield f"{WEBHOOK} names no webhook, so nobody is told: set it to the address that is to be called"


def remove_all(client: SyncPrefectClient) -> list[str]:
    """Remove the automations, and return the names of those that were there."""
    found = [each for name in (DEAD, DRIFTED, FAILED) for each in client.read_automations_by_name(name)]
    for each in found:
        client.delete_automation(each.id)
    return [each.name for each in found]
