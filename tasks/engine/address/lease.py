"""A lock at an address: a lease that its holder renews, and that is lost when the holder does not.

`<place>/00000001` is the first holder's object, and each further holder writes the next number, which only one can. The
highest number holds; it says whether it is free again. A waiting process takes over when the object has not changed for
the lease's length by the waiting process's own clock, so the clocks of two machines need not agree.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psutil

from comem_core.addresses.faults import StoreGone
from comem_core.addresses.remote import Remote

LEASE_SECONDS = 30.0
POLL_SECONDS = 1.0
SETTLE_SECONDS = 3.0  # where an object cannot be written only if there is none: two writers look again after this
log = logging.getLogger("comem.stage")
_in_use: set[str] = set()  # the tokens of this process's leases


class LeaseLost(RuntimeError):
    """This process did not renew its lease in time, and another one has taken it over."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """The content of a lease's object."""

    owner: str
    machine: str
    process: int
    started: float
    token: str
    seconds: float
    renewed: int = 0
    time: str = ""
    free: bool = False

    @classmethod
    def make(cls, seconds: float) -> "Held":
        me = psutil.Process()
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(
            owner=socket.gethostname(),
            machine=_name_machine(),
            process=me.pid,
            started=me.create_time(),
            token=uuid4().hex,
            seconds=seconds,
            time=now,
        )

    @classmethod
    def read(cls, content: bytes) -> "Held | None":
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):
            return None

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def is_dead_here(self) -> bool:
        """Tell whether the holder was a process of this machine, and of this container, that has ended."""
        if not self.machine or self.machine != _name_machine():
            return False
        if self.process == os.getpid():
            return self.token not in _in_use  # it could not be released, because nobody answered
        try:
            return abs(psutil.Process(self.process).create_time() - self.started) > 1
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


def _name_machine() -> str:
    """Name this start of this machine, and the processes that it can see: those of a container are apart."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


class Lease:
    """A lock with a name at an address."""

    def __init__(self, remote: Remote, place: str, *, seconds: float = LEASE_SECONDS) -> None:
        self.remote, self.place, self.seconds = remote, place, seconds
        self.held: Held | None = None
        self.number = 0
        self._ended = threading.Event()
        self._lost_to: str | None = None
        self._renewer: threading.Thread | None = None

    def acquire(self, *, wait_seconds: float) -> bool:
        """Take the lease, and tell whether another process had it. Raises TimeoutError after the wait."""
        deadline, has_waited = time.monotonic() + wait_seconds, False
        seen, since = b"", time.monotonic()
        while True:
            number, content = self._find_top()
            held = Held.read(content) if content else None
            if content != seen:
                seen, since = content, time.monotonic()
            is_over = held is None or held.free or held.is_dead_here() or time.monotonic() - since > held.seconds
            if is_over and self._take(number + 1):
                return has_waited
            if not is_over:
                if not has_waited and held is not None:
                    log.info("waiting for %s, whose process %d makes this too", held.owner, held.process)
                has_waited = True
                if time.monotonic() >= deadline:
                    raise TimeoutError
                asked = time.monotonic()
                time.sleep(min(POLL_SECONDS, self.seconds / 4, max(0.0, deadline - time.monotonic()) + 0.01))
                if time.monotonic() - asked > self.seconds / 2:
                    seen = b""  # this process slept: what it saw before says nothing

    def _find_top(self) -> tuple[int, bytes]:
        """Return the highest number and its content; an outage in between begins the watch anew."""
        started = time.monotonic()
        names = self.remote.list_names(self.place)
        numbers = [int(name) for name in names if name.isdecimal()]
        if not numbers:
            return 0, b""
        content = self.remote.read(f"{self.place}/{max(numbers):08}") or b""
        if time.monotonic() - started > self.seconds / 2:
            return max(numbers), content + b" "  # differs from what was seen, and means the same
        return max(numbers), content

    def _take(self, number: int) -> bool:
        """Write the object of a number, and tell whether this process then has the highest one."""
        held, name = Held.make(self.seconds), f"{self.place}/{number:08}"
        _in_use.add(held.token)
        if not self.remote.write_new(name, held.write()):
            return False
        if not self.remote.is_exclusive:
            time.sleep(SETTLE_SECONDS)
        top, content = self._find_top()
        if top != number or content.strip() != held.write():
            if top != number:
                self.remote.remove([name])
            return False
        self.held, self.number, self._lost_to = held, number, None
        self.remote.remove(
            f"{self.place}/{each}" for each in self.remote.list_names(self.place) if each < f"{number:08}"
        )
        self._ended.clear()
        context = copy_context()  # so that a flow's log shows what the thread says
        self._renewer = threading.Thread(target=context.run, args=(self._renew,), daemon=True)
        self._renewer.start()
        return True

    def _renew(self) -> None:
        while not self._ended.wait(self.seconds / 4):
            try:
                self.check()
                assert self.held is not None
                now = datetime.now(UTC).isoformat(timespec="seconds")
                self.held = replace(self.held, renewed=self.held.renewed + 1, time=now)
                self.remote.write(f"{self.place}/{self.number:08}", self.held.write())
            except StoreGone:
                continue  # the work itself ends with this error, where it has something to write
            except LeaseLost as lost:
                log.error("%s", lost)
                return
            except Exception as error:
                log.warning("the lease %s/%s was not renewed: %s", self.remote.address, self.place, error)

    def check(self) -> None:
        """Raise LeaseLost if another process has taken over."""
        if self._lost_to is None:
            number, content = self._find_top()
            held = Held.read(content) if content else None
            if number > self.number or held is None or self.held is None or held.token != self.held.token:
                self._lost_to = "nobody" if held is None else f"process {held.process} of {held.owner}"
        if self._lost_to is not None:
            raise LeaseLost(
                f"this run did not renew its lease {self.remote.address}/{self.place} for more than {self.seconds:.0f} "
                f"s, and {self._lost_to} has taken it over. What is finished is kept: start the same command again"
            )

    def release(self) -> None:
        """Let others take the lease at once."""
        self._ended.set()
        if self._renewer is not None:
            self._renewer.join()
        assert self.held is not None
        _in_use.discard(self.held.token)
        with contextlib.suppress(LeaseLost, StoreGone):
            self.check()
            self.remote.write(f"{self.place}/{self.number:08}", replace(self.held, free=True).write())


@contextlib.contextmanager
def hold_lease(lease: Lease, *, wait_seconds: float) -> Iterator[bool]:
    """Hold a lease for a block, and yield whether another process had it. Raises TimeoutError after the wait."""
    waited = lease.acquire(wait_seconds=wait_seconds)
    try:
        yield waited
    finally:
        lease.release()
