"""Measures the memory of all started processes together, by sampling while a run is followed."""

import contextlib
import json
import time

import psutil

from flows.local.layout import Layout
from flows.local.processes import list_processes

SAMPLE_SECONDS = 6.0  # a sample reads the page tables of a dozen processes
GIGABYTE = 1024**3


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
