"""What is measured of a step, and the line of a log that describes it."""

import time

import numpy as np
import pytest

from comem_core.tracking.steps import StepWatch, describe_step
from comem_core.training.reports import WAITED, StepReport


def make_report(step: int, **measures: float) -> StepReport:
    return StepReport(step=step, loss=2.5, learning_rate=5e-5, samples=16, tokens=320, seconds=0.5, measures=measures)


def test_a_step_has_loss_learning_rate_rates_memory_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    watch = StepWatch(10, device="cpu", num_workers=2)
    first = watch.measure(make_report(3, **{WAITED: 0.9, "accuracy": 0.25}))
    assert first.pop("peak_process_memory_gb") > 0
    assert first == {
        "loss": 2.5,
        "learning_rate": 5e-5,
        "samples_per_second": 32.0,
        "tokens_per_second": 640.0,
        "step_seconds": 0.5,
        "accuracy": 0.25,
    }
    assert "remain" not in describe_step(3, 10, first) and "waiting" not in describe_step(3, 10, first)
    now += 4.0
    second = watch.measure(make_report(5, **{WAITED: 0.2}))
    assert second["remaining_seconds"] == pytest.approx(10.0)  # five more steps, each two seconds
    assert second["waiting_share"] == pytest.approx(0.2)  # two workers waited a tenth of a second each


def test_the_line_of_a_log_says_what_is_watched() -> None:
    measures = {"loss": 2.5, "learning_rate": 5e-5, "samples_per_second": 31.96, "remaining_seconds": 12.4}
    on_cpu = describe_step(4, 9, measures | {"peak_process_memory_gb": 1.237})
    assert on_cpu == (
        "step 4 of 9, loss 2.500, learning rate 5e-05, 32 samples a second, "
        "peak memory 1.24 GB of the first worker's process, 12 s remain"
    )
    on_gpu = describe_step(4, 9, measures | {"peak_gpu_memory_gb": 27.35, "waiting_share": 0.5})
    assert "peak memory 27.35 GB of the first worker's tensors on its GPU" in on_gpu
    assert on_gpu.endswith("50 % of the time spent waiting for data")
    assert "waiting" not in describe_step(4, 9, measures | {"waiting_share": 0.04})


def test_the_peak_is_that_of_the_training() -> None:
    large = np.ones(50_000_000)  # 0.4 GB that was there before
    assert large.sum() > 0
    before = StepWatch(2, device="cpu").measure(make_report(1))["peak_process_memory_gb"]
    del large
    after = StepWatch(2, device="cpu").measure(make_report(1))["peak_process_memory_gb"]
    assert after < before - 0.3
