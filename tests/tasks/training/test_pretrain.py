"""The steps of a pretraining are kept, and a tracker has each of them once, also where it goes on."""

import re
from pathlib import Path

import pytest

from comem_core.training.reports import StepReport
from tasks.engine.context import Context, RunRef
from tasks.engine.on_ray_train import name_tracked
from tasks.engine.store import Store
from tasks.training.pretrain import write_steps
from tests.comem_core.tracking.reading import read_losses


def make_report(step: int) -> StepReport:
    measures = {"accuracy": 0.5}
    return StepReport(step=step, loss=1 / step, learning_rate=0.1, samples=8, tokens=80, seconds=0.5, measures=measures)


def test_a_pretraining_that_goes_on_is_kept_and_tracked_with_each_step_once(
    make_context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    context: Context = make_context(tmp_path, tracker="tensorboard")
    partial = Store.of(context).begin("base", "f" * 16)
    for run_id, steps in (("killed", range(1, 4)), ("later", range(3, 7))):
        tracked = name_tracked(RunRef(run_id=run_id, recipe_name="tiny", context=context), partial, {"seed": 1})
        assert tracked is not None and tracked.name == f"base-{'f' * 16}-killed"
        with caplog.at_level("INFO"), write_steps(partial, 6, tracked, every=3) as on_step:
            for step in steps:
                on_step(make_report(step))
        assert read_losses(tracked) == [(step, round(1 / step, 6)) for step in range(1, steps[-1] + 1)]
    assert re.search(
        r"step 6 of 6, loss 0.167, learning rate 0.1, 16 samples a second, .*, accuracy 0.500", caplog.text
    )
