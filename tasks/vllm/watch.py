"""Runs a command, and ends it with all its processes as soon as the process that asked for it is gone.

`python watch.py FOLDER COMMAND...`: the one that asks holds the other end of this process's input open. Whatever ends
it, also kill -9, closes that; then the command ends and the folder is removed. The folder gets the command's output
(`log`) and, if the command ends first, its exit status (`exit`). This runs apart from Ray, which kills the children of
a worker but not theirs: vLLM's server has some, which hold the GPU.
"""

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from comem_core.terminal import guard_output

LOOK_SECONDS, GRACE_SECONDS = 0.5, 10.0
PARENT_DIED, REAP_ORPHANS = 1, 36  # prctl: PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER


def main() -> None:
    """Leave the process that asks, run the command, and wait for the end of either."""
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    if os.fork():
        return
    os.setsid()
    libc = ctypes.CDLL(None)
    libc.prctl(REAP_ORPHANS, 1, 0, 0, 0)
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, lambda *_: None)  # not SIG_IGN, which the command would inherit
    try:
        with (folder / "log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
                preexec_fn=lambda: libc.prctl(PARENT_DIED, signal.SIGKILL, 0, 0, 0),
            )
        status = wait_for_end(child)
    except OSError as error:
        status = error
    (folder / "exit").write_text(str(status))
    while not is_closed(sys.stdin.fileno()):
        pass
    shutil.rmtree(folder, ignore_errors=True)


def wait_for_end(child: subprocess.Popen) -> int:
    """Wait until the command ends, or end it when it is no longer wanted; return its exit status."""
    while not is_closed(sys.stdin.fileno()) and child.poll() is None:
        pass
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
    end_descendants()
    return child.wait()


def is_closed(stream: int) -> bool:
    """Wait a little, and tell whether the other end of a pipe was closed."""
    return bool(select.select([stream], [], [], LOOK_SECONDS)[0]) and not os.read(stream, 1)


def end_descendants() -> None:
    """Kill what the command left; a process whose parent is killed becomes a child of this one."""
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=LOOK_SECONDS)
        time.sleep(0.01)


if __name__ == "__main__":
    guard_output()
    main()
