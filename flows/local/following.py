"""Follows one flow run on a terminal or into a file: the lines of its stages, what goes wrong, time and memory."""

import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
    LogFilterLevel,
    LogFilterTimestamp,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import LogSort, TaskRunSort
from prefect.states import Cancelling

from comem_core.terminal import write_controls
from flows.local.layout import Layout, Note
from flows.local.processes import StartError, list_processes, read_tail, reap
from flows.local.servers import open_client
from tasks.engine.telling import BEGINS

# Each look costs server and follower together a tenth of a second of processor time, which the run itself needs. So the
# looks become rarer while nothing new is found.
POLL_SECONDS, LONGEST_POLL_SECONDS = 1.0, 4.0
QUIET_SECONDS = 15.0  # after so long without a line, a log says that work goes on
SAMPLE_SECONDS = 6.0  # a sample reads the page tables of a dozen processes
GIGABYTE = 1024**3
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
ENGINE_TALK = (
    "Finished in state",
    "Beginning flow run",
    "Created task run",
    "Created subflow run",
    "View at ",
    "Opening",
    "Running 1 deployment pull step",
    "Executing deployment step",
    "Deployment step ",
    "All deployment steps completed",
)
"""How Prefect's own lines begin about what goes as it should; they are left out."""
TOLD_AT_THE_END = ("report page: ", "open them in Python")
"""What lines have that the end of a demo tells; what the log calls the page's address is that of a server that ends."""
PASSING = re.compile(rf"([^:]+): ({BEGINS}($| \()|\d+ of \d+ shards)")
"""A line about a stage that its next one makes old."""
SAID_STATES = {"Running": "the run has begun; its libraries are loaded and Ray is started, then the stages follow"}
UNSAID_STATES = ("Scheduled", "Pending", "Submitting", "Completed")
TROUBLE = ("Failed", "Crashed", "Cancelling", "Cancelled", "AwaitingRetry", "Retrying", "TimedOut", "Paused", "Late")
"""The states of stages that are said; for the others, their log speaks."""


class Voice:
    """Prints lines with the time since the start; on a terminal, the last line is a running clock."""

    def __init__(self) -> None:
        self.started = self.last_said = time.monotonic()
        self.clock = sys.stdout.isatty()
        self.num_said = 0

    def say(self, line: str) -> None:
        self.num_said, self.last_said = self.num_said + 1, time.monotonic()
        self.end_clock()
        print(f"[{self.seconds:5.0f} s] {line}", flush=True)

    def tick(self, what: str) -> None:
        """Show on a terminal's running clock what is under way; a file gets a line after a while of silence."""
        if self.clock:
            self.end_clock()
            print(f"[{self.seconds:5.0f} s] … {what}", end="", flush=True)
        elif time.monotonic() - self.last_said > QUIET_SECONDS:
            self.say(f"… {what}")

    def end_clock(self) -> None:
        """Erase the running clock, which the next line replaces."""
        if self.clock:
            write_controls("\r\033[K")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Follower:
    """Prints the news of one flow run, each only once."""

    def __init__(self, client: SyncPrefectClient, flow_run_id: UUID, voice: Voice) -> None:
        self.client, self.flow_run_id, self.voice = client, flow_run_id, voice
        self.said_states: dict[UUID, str] = {}
        self.said_logs: set[UUID] = set()
        self.under_way = "the run waits for the worker"
        self.last_log = datetime.now(UTC) - timedelta(days=365)

    def step(self) -> FlowRun:
        """Print what is new and return the flow run."""
        run = self.client.read_flow_run(self.flow_run_id)
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[self.flow_run_id]))
        task_runs = self.client.read_task_runs(flow_run_filter=wanted, sort=TaskRunSort.EXPECTED_START_TIME_ASC)
        self._say_logs()
        for task_run in task_runs:
            if task_run.state is not None and task_run.state_name in TROUBLE:
                stage = task_run.name.rpartition("-")[0]  # Prefect adds a few letters that tell runs apart
                self._say_state(task_run.id, f"{stage}: {task_run.state_name}", task_run.state.message)
        if run.state is not None and run.state_name in SAID_STATES:
            if run.id not in self.said_states:
                self.under_way = "libraries are loaded"
            self._say_state(run.id, SAID_STATES[run.state_name], None)
        elif run.state is not None and run.state_name not in UNSAID_STATES:
            self._say_state(run.id, f"flow run {run.name}: {run.state_name}", run.state.message)
        return run

    def _say_state(self, key: UUID, line: str, message: str | None) -> None:
        if self.said_states.get(key) != line:
            self.said_states[key] = line
            self.voice.say(line + (f" ({shorten_message(message)})" if message else ""))

    def _say_logs(self) -> None:
        wanted = LogFilter(
            flow_run_id=LogFilterFlowRunId(any_=[self.flow_run_id]),
            level=LogFilterLevel(ge_=20),
            timestamp=LogFilterTimestamp.model_validate({"after_": self.last_log - timedelta(seconds=5)}),
        )
        lines = []
        for log in self.client.read_logs(wanted, sort=LogSort.TIMESTAMP_ASC):
            if log.id in self.said_logs:
                continue
            self.said_logs.add(log.id)
            self.last_log = max(self.last_log, log.timestamp)
            if log.name in RUN_LOGGERS and not log.message.startswith(ENGINE_TALK):
                lines.append(log.message)
        for line in drop_passing(lines):
            told = PASSING.match(line)
            self.under_way = f"{told.group(1)} is under way" if told else "the next stage is under way"
            if not any(words in line for words in TOLD_AT_THE_END):
                self.voice.say(line)


def drop_passing(lines: Sequence[str]) -> list[str]:
    """Leave out the beginning and the pace of a stage where a later line tells of the same stage."""
    return [
        line
        for place, line in enumerate(lines)
        if not (told := PASSING.match(line))
        or not any(each.startswith(f"{told.group(1)}: ") for each in lines[place + 1 :])
    ]


class Meter:
    """The peak, in bytes, of the summed proportional set size of our processes, which counts shared pages once."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.peak, self._last = layout, 0, 0.0

    def sample(self) -> None:
        """Take a sample, at most every few seconds."""
        if time.monotonic() - self._last < SAMPLE_SECONDS:
            return
        self._last, total = time.monotonic(), 0
        for process in [psutil.Process(), *list_processes(self.layout)]:
            with contextlib.suppress(psutil.Error):
                memory = process.memory_full_info()
                total += getattr(memory, "pss", memory.uss)  # only Linux has the proportional set size
        self.peak = max(self.peak, total)

    def write(self, seconds: float) -> None:
        """Write the demo's time and peak memory, for `record`."""
        values = {"seconds": seconds, "peak_memory_gb": self.peak / GIGABYTE}
        (self.layout.root / ".comem" / "last-demo.json").write_text(json.dumps(values) + "\n")


def shorten_message(message: str | None, *, letters: int = 300) -> str:
    """Return the first line of a message, cut after `letters` characters; the log has the whole message."""
    first = (message or "").strip().split("\n")[0]
    return first if len(first) <= letters else first[:letters] + "…"


def follow(note: Note, layout: Layout, flow_run_id: UUID, *, voice: Voice, meter: Meter) -> FlowRun:
    """Follow a flow run to its end and return it. Raises StartError if server or worker end before the run."""
    with open_client(note.api_url) as client:
        follower, pause = Follower(client, flow_run_id, voice), POLL_SECONDS
        while True:
            num_said, run = voice.num_said, follower.step()
            pause = POLL_SECONDS if voice.num_said > num_said else min(2 * pause, LONGEST_POLL_SECONDS)
            if run.state is not None and run.state.is_final():
                time.sleep(POLL_SECONDS)  # wait for the last lines of its log
                follower.step()
                voice.end_clock()
                return run
            for name, process in (("server", note.server), ("worker", note.worker)):
                reap()
                if process is not None and not process.is_alive():
                    log = layout.logs / f"{name}.log"
                    raise StartError(f"the {name} ended before the run did. The end of {log}:\n{read_tail(log)}")
            meter.sample()
            for _ in range(round(pause / POLL_SECONDS)):
                voice.tick(follower.under_way)
                time.sleep(POLL_SECONDS)


def cancel(note: Note, flow_run_id: UUID, *, why: str, seconds: float = 40) -> bool:
    """Cancel a flow run and wait for its end, at most `seconds`; return whether it has ended. Its page says `why`."""
    with open_client(note.api_url) as client:
        state = client.read_flow_run(flow_run_id).state
        if state is None or not state.is_final():
            client.set_flow_run_state(flow_run_id, Cancelling(message=why))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = client.read_flow_run(flow_run_id).state
            if state is not None and state.is_final():
                return True
            time.sleep(POLL_SECONDS)
    return False
