"""The folder in which faults are tried: one `.comem` that lives on through all of them, its local Prefect, its runs.

Every process that is started here has the folder in its environment (`COMEM_LOCAL`), and none without is ever killed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from prefect.client.schemas.objects import StateType

from flows.faults.running import make_parameters
from flows.local.layout import Layout, Note
from flows.local.processes import end_all, list_processes
from flows.local.servers import open_client
from tasks.engine.context import Context

LINKED = ("flows", "prefect.yaml", "prefect.toml")
DEPLOYMENT = "synth-and-train/tiny-cpu"
SETTINGS = {"COMEM_ROWS_PER_SHARD": "16", "COMEM_BATCH_SIZE": "4", "COMEM_NUM_ACTORS": "2"}
"""Several shards of several batches, so that there are finished ones to lose."""
POLL_SECONDS, LONGEST_SECONDS = 0.1, 600.0
PROJECT = Path(__file__).parents[2]


class RunLasts(RuntimeError):
    """A run did not end in the time that many of its kind would take."""


@dataclass
class Stand:
    """The folder, and how its runs are started."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return Layout(self.folder)

    @property
    def unbroken(self) -> "Stand":
        """The folder of the same runs without a fault, on the same server."""
        return replace(self, folder=self.folder / "unbroken")

    @property
    def context(self) -> Context:
        return Context.from_environment({"COMEM_ROOT": str(self.folder)} | SETTINGS)

    def prepare(self) -> None:
        """Make the folder look like the project's, so that its commands run there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in LINKED:
            if not (self.folder / name).exists():
                (self.folder / name).symlink_to(PROJECT / name)
        self.layout.logs.mkdir(parents=True, exist_ok=True)

    def read_note(self) -> Note:
        """Return what is up; it is started if it is not."""
        if (note := self.layout.read_note()) is None or note.worker is None or not note.worker.is_alive():
            self.call("serve")
            note = self.layout.read_note()
        assert note is not None
        return note

    def call(self, command: str) -> None:
        """Run one of `python -m flows.local`'s commands in the folder, as its user does."""
        with (self.layout.logs / f"{command}.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "flows.local", command],
                cwd=self.folder,
                env=self.layout.build_environment(self._keep_environment(), None),
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )

    @contextmanager
    def keep_clean(self) -> Iterator[None]:
        """Leave no process of this folder behind."""
        try:
            yield
        finally:
            end_all(self.layout, grace=0)
            self.layout.note_path.unlink(missing_ok=True)

    def start(self, number: int, *, api_url: str, **settings: str) -> "Attempt":
        """Start the run of a round as a process of its own, whose output is added to a log."""
        return Attempt(self._open([make_parameters(self.base, number)], f"run-{number:04d}.log", api_url, settings))

    def run_unbroken(self, numbers: Sequence[int], *, api_url: str) -> None:
        """Run the rounds in this stand, one after the other, without a fault."""
        runs = [make_parameters(self.base, number) for number in numbers]
        if self._open(runs, "unbroken.log", api_url, {}).wait():
            raise RuntimeError(f"an unbroken run failed; {self.layout.logs / 'unbroken.log'} says why")

    @property
    def base(self) -> Path:
        """The folder that has the corpora, whose address is part of a result's name."""
        return self.folder.parent if self.folder.name == "unbroken" else self.folder

    def _open(
        self, runs: list[dict[str, Any]], log: str, api_url: str, settings: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        self.layout.logs.mkdir(parents=True, exist_ok=True)
        with (self.layout.logs / log).open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.faults.running", json.dumps(runs)],
                cwd=self.base,
                env=self.layout.build_environment(self._keep_environment(), api_url) | dict(settings),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _keep_environment(self) -> dict[str, str]:
        """Return this process's environment without settings of another project, so that all runs have the same."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("COMEM_", "PREFECT_", "RAY_"))
        }
        return kept | SETTINGS | dict(self.settings)


@dataclass
class Attempt:
    """A run as a process: it ended well, or with an error, or goes on."""

    process: "subprocess.Popen[bytes]"

    def poll(self) -> bool | None:
        """Tell whether it ended well; None while it goes on."""
        code = self.process.poll()
        return None if code is None else code == 0

    def find_root(self) -> psutil.Process | None:
        return None if self.process.poll() is not None else psutil.Process(self.process.pid)

    def end(self) -> None:
        """Kill what is left of it, and wait until its Ray has ended too."""
        left = [*_list_children(self.process.pid), self.process] if self.process.poll() is None else [self.process]
        for each in left:
            each.kill()
        self.process.wait()


@dataclass
class DeployedAttempt:
    """A run of a deployment, which Prefect's worker has started."""

    stand: Stand
    run_id: Any

    @classmethod
    def start(cls, stand: Stand, number: int) -> "DeployedAttempt":
        with open_client(stand.read_note().api_url) as client:
            found = client.read_deployment_by_name(DEPLOYMENT)
            run = client.create_flow_run_from_deployment(found.id, parameters=make_parameters(stand.base, number))
        return cls(stand, run.id)

    def poll(self) -> bool | None:
        with open_client(self.stand.read_note().api_url) as client:
            run = client.read_flow_run(self.run_id)
        if run.state_type == StateType.COMPLETED:
            return True
        return False if run.state and run.state.is_final() else None

    def find_root(self) -> psutil.Process | None:
        processes = list_processes(self.stand.layout, str(self.run_id))
        ids = {each.pid for each in processes}
        return next((each for each in processes if each.ppid() not in ids), None)

    def end(self) -> None:
        for each in list_processes(self.stand.layout, str(self.run_id)):
            each.kill()


def _list_children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for_end(attempt: Attempt | DeployedAttempt, seconds: float = LONGEST_SECONDS) -> bool | None:
    """Wait until a run has ended, at most so long; tell whether it ended well, and None if it goes on."""
    until = time.monotonic() + seconds
    while (ended := attempt.poll()) is None and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return ended
