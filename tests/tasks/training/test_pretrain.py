"""The steps of a pretraining are kept, and a tracker has each of them once, also where it goes on."""

import re
from pathlib import Path

import pytest

from comem_core.pretraining.base_recipe import PretrainingRecipe
from comem_core.training.reports import StepReport
from tasks.engine.context import GPU_DEFAULTS, Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.store import Store
from tasks.engine.training.on_ray_train import name_tracked
from tasks.training.pretrain import pretrain_on_ray, write_steps
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


@pytest.mark.usefixtures("small_ray")
def test_settings_of_a_training_that_a_pretraining_ignores_are_named(
    make_context, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work(recipe: PretrainingRecipe, artefact: Partial, tracked: None, word: Path) -> None:
        (artefact.folder / "done").write_text(f"{recipe.version} {word}")

    def run_with(**settings: object) -> str:
        context: Context = make_context(tmp_path, **settings)
        partial = Store.of(context).begin("base", "f" * 16)
        run = RunRef(run_id="r", recipe_name="tiny", context=context)
        pretrain_on_ray(run, partial, PretrainingRecipe(), work, Path("further"))
        return (partial.folder / "done").read_text()

    with caplog.at_level("INFO"):
        assert run_with() == f"{PretrainingRecipe().version} further"
        run_with(**GPU_DEFAULTS)
        assert "no effect" not in caplog.text
        run_with(train_workers=2, train_sharding="on")
    assert "COMEM_TRAIN_WORKERS and COMEM_TRAIN_SHARDING have no effect here: one worker computes" in caplog.text
