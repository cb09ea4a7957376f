"""The calls by which a process changes files below a folder, or commits to the warehouse: its write points.

They are counted by an audit hook of Python, so no module of the product knows of it. The library raises two events
itself, because Python has none: `comem.flush` before a file is forced to the disk, `comem.commit` before a transaction
is committed. What Arrow and DuckDB write by themselves has no event; a file of Arrow's gets its name by one.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
CHANGES = ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "comem.flush")
LOCKS = (".lock", ".writer.json")
"""Files of locks; what they are for is tested with processes that wait for each other."""


def fail_with(number: int) -> Callable[[], NoReturn]:
    """Return a failure by an error number of the operating system."""

    def fail() -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def end_at_once() -> NoReturn:
    """End this process as `kill -9` does: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a process does not outlive SIGKILL")


FAILURES: dict[str, Callable[[], NoReturn]] = {
    "no space": fail_with(errno.ENOSPC),
    "io error": fail_with(errno.EIO),
    "killed": end_at_once,
}


class WritePoints:
    """Counts the write points of this process from 1, and lets the one of a number fail before it changes anything.

    An audit hook cannot be taken away, so this is for a process that ends afterwards.
    """

    def __init__(self, folder: Path, *, fails_at: int | None = None, failure: str = "killed") -> None:
        self.folder, self.fails_at, self.fail = f"{folder}{os.sep}", fails_at, FAILURES[failure]
        self.passed: list[str] = []
        sys.addaudithook(self._watch)

    def _watch(self, event: str, given: tuple[Any, ...]) -> None:
        if (name := self._name(event, given)) is not None:
            self.passed.append(f"{event} {name}")
            if len(self.passed) == self.fails_at:
                self.fail()

    def _name(self, event: str, given: tuple[Any, ...]) -> str | None:
        """Name what an event changes in the folder; None for another event."""
        if event == "comem.commit":
            return "warehouse"
        opens = event == "open" and isinstance(given[2], int) and bool(given[2] & WRITES)
        if not (opens or event in CHANGES):
            return None
        paths = [os.fsdecode(each) for each in given[:2] if isinstance(each, str | bytes | os.PathLike)]
        inside = [each for each in paths if each.startswith(self.folder)]
        if not inside or inside[0].endswith(LOCKS):
            return None
        return inside[-1].removeprefix(self.folder)
