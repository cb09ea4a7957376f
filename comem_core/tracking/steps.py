"""What a person watches of a training's steps: loss, learning rate, samples a second, memory and remaining time.

One measurement serves Prefect's log and every tracker. Needs torch only where a card's memory is measured.
"""

import contextlib
import sys
import time
from collections.abc import Mapping
from typing import Any

from comem_core.tracking.peaks import forget_peak_bytes, read_peak_bytes
from comem_core.training.reports import WAITED, StepReport

SHOWN_WAIT = 0.05  # of the time of the steps
PEAKS = {
    "peak_gpu_memory_gb": "of the first worker's tensors on its GPU",
    "peak_process_memory_gb": "of the first worker's process",
}


class StepWatch:
    """Measures the steps of one worker, counted from the first step that this process does.

    Remaining time and waiting are not told of the first step, which loads and prepares what later steps have at hand.
    """

    def __init__(self, num_steps: int, *, device: str, num_workers: int = 1) -> None:
        self.num_steps, self.device, self.num_workers = num_steps, device, num_workers
        self.first: tuple[int, float] | None = None
        self.seconds = self.waited = 0.0
        _reset_peak(device)

    def measure(self, report: StepReport) -> dict[str, float]:
        """Return the measures of a step by name."""
        measures = measure_pace(report.row) | self._measure_peak()
        measures |= {name: value for name, value in report.measures.items() if name != WAITED}
        now = time.monotonic()
        if self.first is None or report.step <= self.first[0]:
            self.first = report.step, now
            return measures
        self.seconds += report.seconds
        self.waited += report.measures.get(WAITED, 0.0) / self.num_workers
        rate = (report.step - self.first[0]) / max(1e-9, now - self.first[1])
        measures["remaining_seconds"] = (self.num_steps - report.step) / rate
        measures["waiting_share"] = self.waited / max(1e-9, self.seconds)
        return measures

    def _measure_peak(self) -> dict[str, float]:
        if self.device.startswith("cuda"):
            import torch

            return {"peak_gpu_memory_gb": torch.cuda.max_memory_allocated(self.device) / 1e9}
        return {"peak_process_memory_gb": read_peak_bytes() / 1e9}


def measure_pace(step: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures that follow from a step's row alone, as the artefact keeps it."""
    seconds = max(1e-9, step["seconds"])
    return {
        "loss": step["loss"],
        "learning_rate": step["learning_rate"],
        "samples_per_second": step["samples"] / seconds,
        "tokens_per_second": step["tokens"] / seconds,
        "step_seconds": step["seconds"],
    }


def _reset_peak(device: str) -> None:
    """Forget the peak of what this process did before. Only Linux can do that for a process."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):  # some containers forbid it; then earlier work counts too
            forget_peak_bytes()


def describe_step(step: int, num_steps: int, measures: Mapping[str, float]) -> str:
    """Describe a step in one line of a log."""
    parts = [
        f"step {step} of {num_steps}, loss {measures['loss']:.3f}, learning rate {measures['learning_rate']:.2g}",
        f"{measures['samples_per_second']:.3g} samples a second",
        *(f"peak memory {measures[name]:.2f} GB {whose}" for name, whose in PEAKS.items() if name in measures),
    ]
    if "remaining_seconds" in measures:
        parts.append(f"{measures['remaining_seconds']:.0f} s remain")
    if (waiting := measures.get("waiting_share", 0.0)) > SHOWN_WAIT:
        parts.append(f"{100 * waiting:.0f} % of the time spent waiting for data")
    return ", ".join(parts)
