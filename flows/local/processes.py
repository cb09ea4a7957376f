"""Processes of a local Prefect: starts them detached from the terminal, finds them and their children, ends them.

Also chooses their ports.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil

from flows.local.layout import DEFAULT_PORT, HOST, MARK, Layout, Process

FLOW_RUN = "PREFECT__FLOW_RUN_ID"
LAST_PORT = 65535
NUM_TRIED = 50


class StartError(RuntimeError):
    """A process did not start or run as it should; the message says why, with the end of its log."""


def spawn(
    command: list[str], *, layout: Layout, log: str, api_url: str, variables: Mapping[str, str] | None = None
) -> Process:
    """Start a command in its own session, so that Ctrl-C reaches only us, with its output in a log file."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / log).open("ab") as file:
        child = subprocess.Popen(
            command,
            cwd=layout.root,
            env=layout.build_environment(os.environ, api_url) | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Process(child.pid, psutil.Process(child.pid).create_time())


def wait_until(ready: Callable[[], bool], *, process: Process, what: str, log: Path, seconds: float) -> None:
    """Poll until `ready` returns True. Raises StartError with the log's end if the process ends or time runs out."""
    end = time.monotonic() + seconds
    while not ready():
        reap()
        if not process.is_alive():
            raise StartError(f"{what} ended while it started. The end of {log}:\n{read_tail(log)}")
        if time.monotonic() > end:
            raise StartError(f"{what} was not ready after {seconds:.0f} s. The end of {log}:\n{read_tail(log)}")
        time.sleep(0.1)


def read_tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log file, indented."""
    text = log.read_text(errors="replace") if log.exists() else "(it is empty)"
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines()[-lines:])


def is_port_free(port: int) -> bool:
    """Tell whether a port of this machine is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def choose_port(last: int | None = None) -> int:
    """Take COMEM_PORT, or the `last` port if it is free, or the first free one from 4200.

    Raises StartError if the port asked for cannot be had.
    """
    asked = os.environ.get("COMEM_PORT")
    if asked is not None:
        if not asked.isdecimal() or not 1 <= int(asked) <= LAST_PORT:
            raise StartError(f"COMEM_PORT is {asked!r}; expected a port from 1 to {LAST_PORT}. Set one, or unset it")
        if not is_port_free(int(asked)):
            raise StartError(f"COMEM_PORT is {asked}: that port is taken. Set a free one, or unset it")
        return int(asked)
    if last is not None and is_port_free(last):
        return last
    if (port := find_free_port(DEFAULT_PORT)) is not None:
        return port
    end = DEFAULT_PORT + NUM_TRIED - 1
    raise StartError(f"the ports {DEFAULT_PORT} to {end} are all taken. Set COMEM_PORT to a free one")


def find_free_port(first: int) -> int | None:
    """Return the first free port of the next `NUM_TRIED`, if there is one."""
    ports = range(first, min(first + NUM_TRIED, LAST_PORT + 1))
    return next((port for port in ports if is_port_free(port)), None)


def list_processes(layout: Layout, flow_run_id: str | None = None, *, any_run: bool = False) -> list[psutil.Process]:
    """List the processes that this folder's local Prefect started, without our own; or those of one or any flow run."""
    ours, found = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}, []
    for process in psutil.process_iter():
        try:
            environment = process.environ() if process.pid not in ours else {}
        except (psutil.Error, OSError):
            continue
        of_run = environment.get(FLOW_RUN)
        right_run = of_run is not None if any_run else flow_run_id in (None, of_run)
        if environment.get(MARK) == str(layout.root) and right_run:
            found.append(process)
    return found


def end(processes: Iterable[psutil.Process], *, grace: float) -> None:
    """Ask processes to end, and kill those that have not ended after `grace` seconds."""
    waiting = list(processes)
    for process in waiting:
        _send_signal(process, signal.SIGTERM if grace > 0 else signal.SIGKILL)
    _, left = psutil.wait_procs(waiting, timeout=grace)
    for process in left:
        _send_signal(process, signal.SIGKILL)
    psutil.wait_procs(left, timeout=5)
    reap()


def end_one(process: Process | None, *, grace: float) -> None:
    """End one process, if it is still alive (another process may have its id by now)."""
    if process is not None and process.is_alive():
        end([psutil.Process(process.pid)], grace=grace)


def end_all(layout: Layout, *, grace: float) -> None:
    """End every process that has this folder's mark, including those started in the meantime."""
    for _ in range(5):
        if not (found := list_processes(layout)):
            return
        end(found, grace=grace)


def reap() -> None:
    """Collect the exit status of ended children, so that none stays as a zombie."""
    for child in psutil.Process().children():
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
        except (psutil.Error, ChildProcessError):
            continue


def _send_signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
