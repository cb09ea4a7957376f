"""Questions that wait: first for their items to be found, then for an answer. Two threads take them, in batches."""

import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from comem_core.memory.answering import Answering
from comem_core.serving.answers import Found
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.http.replies import Reply
from comem_core.serving.http.requests import ChatQuestion
from comem_core.serving.memory import Memory

LOOK_SECONDS = 0.003  # how often a batch looks whether more requests are being read


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A memory that answers, and its reader."""

    memory: Memory
    reader: Answering
    reader_name: str


@dataclass(eq=False, kw_only=True)
class Job:
    """A question that waits for its reply until `deadline`, in seconds of `time.monotonic`."""

    asked: ChatQuestion
    deadline: float
    future: Future[Reply] = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A question whose items were found in a memory."""

    job: Job
    found: Found
    opened: Opened


class Backlog:
    """Questions in the order of their arrival. While one batch is answered, the items of the next ones are found.

    A batch is begun when half of the open requests are ready, so that two batches of many requests overlap; when no
    other question is on its way; or `wait_seconds` after it could have begun.
    """

    def __init__(self, limits: ServiceLimits):
        self.limits = limits
        self.num_arriving = 0  # requests that are being read
        self.num_open = 0  # requests without an answer, those among them
        self._new: deque[Job] = deque()
        self._ready: deque[Ready] = deque()
        self._num_finding = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._new) + self._num_finding + len(self._ready)

    @property
    def num_ready(self) -> int:
        """How many of them wait for an answer alone: their items have been found."""
        return len(self._ready)

    def put(self, job: Job) -> None:
        """Let a question wait. Raises queue.Full if `queue_size` others do."""
        with self._changed:
            if len(self) >= self.limits.queue_size:
                raise queue.Full
            self._new.append(job)
            self._changed.notify_all()

    def take_new(self) -> list[Job] | None:
        """Wait for questions, and take those whose items are to be found; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._new or self._is_closed)
            if self._is_closed:
                return None
            taken = [self._new.popleft() for _ in range(min(len(self._new), self.limits.batch_size))]
            self._num_finding = len(taken)
            return taken

    def put_ready(self, ready: Sequence[Ready]) -> None:
        """Give back those of the taken questions whose items were found."""
        with self._changed:
            self._ready.extend(ready)
            self._num_finding = 0
            self._changed.notify_all()

    def take_ready(self) -> list[Ready] | None:
        """Wait for a batch of questions that one memory answers, and take it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._is_closed)
            until = time.monotonic() + self.limits.wait_seconds
            while not self._is_enough() and time.monotonic() < until:
                self._changed.wait(LOOK_SECONDS)
            if self._is_closed:
                return None
            opened, taken = self._ready[0].opened, []
            while self._ready and self._ready[0].opened is opened and len(taken) < self.limits.batch_size:
                taken.append(self._ready.popleft())
            return taken

    def _is_enough(self) -> bool:
        half = -(-self.num_open // 2)
        is_last = not (self._new or self._num_finding or self.num_arriving)
        return self._is_closed or is_last or len(self._ready) >= min(half, self.limits.batch_size)

    def close(self) -> list[Job]:
        """End the waiting of both threads; return the questions that neither of them has taken."""
        with self._changed:
            self._is_closed = True
            left = [*self._new, *(ready.job for ready in self._ready)]
            self._new.clear()
            self._ready.clear()
            self._changed.notify_all()
            return left
