"""Brings the steps of a training to its tracker, in a thread of its own: training neither waits for it nor ends by it.

Steps that a tracker does not take are kept and offered again. The fault is told once.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from comem_core.tracking.choosing import TrackedTraining
from comem_core.tracking.trackers import TRACKERS, Outcome, Row, Tracker

SEND_EVERY_SECONDS = 1.0
TRY_AGAIN_SECONDS = 30.0
CLOSE_SECONDS, SHORT_CLOSE_SECONDS = 30.0, 10.0  # Prefect gives a cancelled run 30 in all

Say = Callable[[int, str], object]
"""Takes a level of `logging` and a line, as a logger's `log` does."""


class Delivery:
    """The steps that wait for a tracker, and the thread that takes them there."""

    def __init__(self, training: TrackedTraining, say: Say) -> None:
        self.training, self.say = training, say
        self.waiting: list[Row] = []
        self.outcome: Outcome = "failed"
        self.tracker: Tracker | None = None
        self.has_failed = self.has_said_where = False
        self.is_ending = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True, name="tracker")
        self.thread.start()

    def add(self, step: int, measures: Mapping[str, float]) -> None:
        """Hand over the measures of a step, and return at once."""
        self.waiting.append((step, time.time(), dict(measures)))

    def close(self) -> None:
        """Send what waits, and tell the tracker how the training ended; give up where that takes too long."""
        self.is_ending.set()
        is_slow = self.has_failed or self.outcome != "finished"
        self.thread.join(SHORT_CLOSE_SECONDS if is_slow else CLOSE_SECONDS)
        if self.waiting:
            self.say(
                logging.WARNING,
                f"{self.training.tracker} was not given the last {len(self.waiting)} steps of the training",
            )

    def _work(self) -> None:
        pause = SEND_EVERY_SECONDS
        while not self.is_ending.wait(pause):
            pause = SEND_EVERY_SECONDS if self._send() else TRY_AGAIN_SECONDS
        if self._send() and self.tracker is not None:
            with self._told():
                self.tracker.close(self.outcome)

    def _send(self) -> bool:
        """Send the steps that wait; return whether the tracker has them all."""
        rows = list(self.waiting)
        if not rows:
            return True
        with self._told():
            if self.tracker is None:
                self.tracker = TRACKERS[self.training.tracker](self.training)
                self._say_where(self.tracker.where)
            if new := _keep_rising(rows, self.tracker.last_step):
                self.tracker.write(new)
                self.tracker.last_step = new[-1][0]
            del self.waiting[: len(rows)]
            return True
        self._give_up_tracker()
        return False

    def _give_up_tracker(self) -> None:
        """Close the tracker that failed; one that is made again looks how far this one got."""
        failed, self.tracker = self.tracker, None
        if failed is not None:
            with contextlib.suppress(Exception):  # its fault was told, and closing is likely to meet the same
                failed.close("interrupted")

    def _say_where(self, where: str) -> None:
        if not self.has_said_where:
            self.has_said_where = True
            self.say(logging.INFO, f"the steps of this training are tracked: {where}")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell the first fault of the tracker, whatever it is: a library of others may raise anything."""
        try:
            yield
        except Exception as error:
            if not self.has_failed:
                self.has_failed = True
                said = " ".join(str(error).split())[:300] or "without a message"
                self.say(
                    logging.WARNING,
                    f"{self.training.tracker} does not take the steps of this training "
                    f"({type(error).__name__}: {said}). Training goes on; the steps are kept and offered again",
                )


def _keep_rising(rows: Sequence[Row], last: int) -> list[Row]:
    """Return the rows of steps after `last`, each step once: one that was done again after a kill is left out."""
    kept = []
    for row in rows:
        if row[0] > last:
            kept.append(row)
            last = row[0]
    return kept


class NoDelivery:
    """Stands for a delivery where no tracker is asked for."""

    outcome: Outcome = "failed"

    def add(self, step: int, measures: Mapping[str, float]) -> None:
        """Do nothing."""


@contextlib.contextmanager
def deliver_steps(training: TrackedTraining | None, say: Say) -> Iterator[Delivery | NoDelivery]:
    """Yield what takes a training's steps to its tracker, if it has one; the block sets `outcome` when it succeeds.

    `say` is called from another thread with what a user should know.
    """
    if training is None:
        yield NoDelivery()
        return
    delivery = Delivery(training, say)
    try:
        yield delivery
    finally:
        delivery.close()
