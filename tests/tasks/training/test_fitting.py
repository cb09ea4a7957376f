"""What training takes on a GPU is said before the first stage, and a card that cannot hold it is refused by name."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.backbone.finding import SHIPPED
from comem_core.recipes import find_recipe
from comem_core.training.recipe import ComputeOptions
from tasks.engine.context import Context
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tasks.training import fitting
from tasks.training.encoder import make_compute_options
from tasks.training.fitting import check_training, estimate_memory


@pytest.fixture
def run(context: Context) -> Run:
    recipe, backbone = find_recipe("tiny_cpu"), replace(NO_BACKBONE, uri=str(SHIPPED / "tiny"))
    few = replace(recipe.training.optimizer, batch_size=4)
    recipe = replace(recipe, training=replace(recipe.training, optimizer=few))
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=backbone)


@pytest.fixture
def gpu_run(run: Run, tmp_path: Path, make_context: Callable[..., Context]) -> Run:
    """The tiny recipe with the settings of a run that trains on a GPU, of which this machine has none."""
    context = make_context(tmp_path, device="cuda", gpus_per_actor=1, train_tokens=4096, train_checkpointing="on")
    return replace(run, context=context)


def test_what_training_takes_is_said_for_gpus_alone(run: Run, gpu_run: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        check_training(run)
        assert "training takes" not in caplog.text
        check_training(gpu_run)
    wanted = r"training takes 0\.0[1-9] GB \(weights 0\.01, optimizer 0\.01, activations 0\.0[1-9]\) on each GPU"
    assert re.search(wanted, caplog.text)


def test_a_card_that_is_too_small_is_refused_with_settings_that_fit_it(
    gpu_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, compute = gpu_run.backbone.uri, ComputeOptions(gradient_checkpointing=True)
    needed = [
        estimate_memory(gpu_run.recipe, folder, replace(compute, tokens_at_once=tokens), num_workers=1)
        for tokens in (4096, 2048)
    ]
    assert needed[0].total > needed[1].total
    monkeypatch.setattr(fitting, "find_card_bytes", lambda: needed[1].total)
    with pytest.raises(ValueError, match="COMEM_TRAIN_TOKENS=2048 COMEM_TRAIN_CHECKPOINTING=on it would take"):
        check_training(gpu_run)
    monkeypatch.setattr(fitting, "find_card_bytes", lambda: needed[1].weights // 2)
    with pytest.raises(ValueError, match="weights, gradients and optimizer alone do not fit"):
        check_training(gpu_run)


def test_cards_that_cannot_hold_the_model_are_told_how_many_could_share_it(
    gpu_run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = estimate_memory(gpu_run.recipe, gpu_run.backbone.uri, make_compute_options(gpu_run.context), num_workers=1)
    by_count = {count: whole.share_out(count) for count in (2, 4)}
    assert whole.total - whole.activations > by_count[2].total - by_count[2].activations > 0
    card = by_count[4].total
    monkeypatch.setattr(fitting, "find_card_bytes", lambda: card)
    several = replace(gpu_run, context=replace(gpu_run.context, train_sharding="on", train_workers=4))
    with caplog.at_level("INFO"):
        check_training(several)  # each has a smaller share of the batch as well
    assert "on each GPU, computed from shapes" in caplog.text

    assert fitting._propose_sharing(gpu_run, whole, card).startswith(
        "with COMEM_TRAIN_SHARDING=on COMEM_TRAIN_WORKERS=4, a card for each worker, it would take at most 0.1 GB"
    )
    assert "do not fit; take a larger card" in fitting._propose_sharing(gpu_run, whole, whole.optimizer)


def test_workers_that_do_not_divide_a_batch_are_refused_by_name(run: Run) -> None:
    uneven = replace(run, context=replace(run.context, train_workers=3))
    with pytest.raises(
        ValueError, match=r"COMEM_TRAIN_WORKERS is 3, but .* batch of 4 .* one of 1, 2, 4, or batch_size"
    ):
        check_training(uneven)
    check_training(replace(run, context=replace(run.context, train_workers=2)))
