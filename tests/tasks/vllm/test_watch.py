"""A command and all its processes end with the process that asked for it, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.vllm import watch

# The command leaves a child in another session, as servers do, and says who it is.
COMMAND = "setsid sleep 1000 & sleep 1000 & echo $$ > pid; wait"
ASKS = """
import subprocess, sys, time
held = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
held.wait()
time.sleep(1000)
"""


def start(folder: Path, command: str) -> subprocess.Popen[bytes]:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", ASKS, sys.executable, "-I", watch.__file__, str(folder), "/bin/sh", "-c", command]
    )


def wait_until(done, seconds: float = 30.0) -> None:
    started = time.monotonic()
    while not done():
        assert time.monotonic() - started < seconds
        time.sleep(0.05)


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_who_asks_ends_everything(tmp_path: Path, ending: signal.Signals) -> None:
    folder = tmp_path / "engine"
    asks = start(folder, COMMAND)
    wait_until(lambda: (folder / "pid").exists() and (folder / "pid").read_text().strip())
    server = psutil.Process(int((folder / "pid").read_text()))
    wait_until(lambda: len(server.children(recursive=True)) == 2)
    all_of_it = [server, *server.children(recursive=True)]
    watching = server.parent()
    assert watching is not None and watching.pid != asks.pid
    assert os.getpgid(watching.pid) != os.getpgid(asks.pid)

    asks.send_signal(ending)
    asks.wait()
    wait_until(lambda: not folder.exists())
    wait_until(lambda: not any(each.is_running() and each.status() != "zombie" for each in all_of_it))
    wait_until(lambda: not watching.is_running() or watching.status() == "zombie")


def test_the_end_of_the_command_is_noted_and_its_log_stays_to_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    asks = start(folder, "sleep 1000 & echo said; exit 3")
    wait_until((folder / "exit").exists)
    assert (folder / "exit").read_text() == "3"
    assert (folder / "log").read_text() == "said\n"
    asks.kill()
    asks.wait()
    wait_until(lambda: not folder.exists())


def test_a_command_that_cannot_run_is_noted(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    command = [sys.executable, "-I", watch.__file__, str(tmp_path / "engine"), "/nowhere/python"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as held:
        wait_until((tmp_path / "engine" / "exit").exists)
        assert held.stdin is not None
        held.stdin.close()
    wait_until(lambda: not (tmp_path / "engine").exists())
