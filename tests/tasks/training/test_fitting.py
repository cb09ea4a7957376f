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
    recipe = replace(recipe, training=replace(recipe.training, optimizer=few, items_per_sample=1))
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
    with pytest.raises(ValueError, match=r"not even with .* 512 tokens, and layers shared among 16 workers"):
        check_training(gpu_run)


def test_cards_that_cannot_hold_the_model_are_told_how_many_could_share_it(
    gpu_run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compute = make_compute_options(gpu_run.context)
    whole = estimate_memory(gpu_run.recipe, gpu_run.backbone.uri, compute, num_workers=1)
    shared = whole.share_out(4)
    assert whole.total - whole.activations > shared.total - shared.activations > 0
    monkeypatch.setattr(fitting, "find_card_bytes", lambda: shared.total)
    several = replace(gpu_run, context=replace(gpu_run.context, train_sharding="on", train_workers=4))
    with caplog.at_level("INFO"):
        check_training(several)  # each has a smaller share of the batch as well
    assert "on each GPU, computed from shapes" in caplog.text

    slim = replace(whole, activations=0)
    assert fitting._propose_sharing(gpu_run, compute, slim, slim.share_out(4).total).startswith(
        "with COMEM_TRAIN_SHARDING=on COMEM_TRAIN_WORKERS=4, a card for each worker, it would take at most 0.0 GB"
    )
    smaller = replace(compute, gradient_checkpointing=True, tokens_at_once=512)
    least = estimate_memory(gpu_run.recipe, gpu_run.backbone.uri, smaller, num_workers=1)
    with_less = fitting._propose_sharing(gpu_run, compute, whole, least.share_out(2).total)
    assert "COMEM_TRAIN_WORKERS=2 COMEM_TRAIN_TOKENS=512 COMEM_TRAIN_CHECKPOINTING=on, a card for each" in with_less


def test_a_quantised_backbone_takes_less_and_is_not_shared_out(
    gpu_run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    training = gpu_run.recipe.training
    few = replace(training, optimizer=replace(training.optimizer, batch_size=2))
    recipe = replace(gpu_run.recipe, training=few, backbone=replace(gpu_run.recipe.backbone, quantization="nf4"))
    quantized = replace(gpu_run, recipe=recipe)
    monkeypatch.setattr(fitting, "find_card_bytes", lambda: 1)
    with (
        caplog.at_level("INFO"),
        pytest.raises(ValueError, match=r"not even with .* 512 tokens; take a larger card or a smaller model$"),
    ):
        check_training(quantized)
    assert re.search(r"training takes 0\.0[1-9] GB \(weights 0\.01", caplog.text)
    together = replace(quantized, context=replace(gpu_run.context, train_sharding="on", train_workers=2))
    with pytest.raises(ValueError, match="SHARDING is on, but the layers of a backbone in nf4 cannot be shared out"):
        check_training(together)
    whole = replace(quantized, recipe=replace(recipe, backbone=gpu_run.recipe.backbone))
    said = fitting._propose_fewer_bits(whole, make_compute_options(gpu_run.context))
    assert re.match(
        r"\. Another backbone, with quantization=nf4 .*, would take 0\.0 GB with COMEM_TRAIN_TOKENS=512", said
    )
    assert fitting._propose_fewer_bits(quantized, make_compute_options(gpu_run.context)) == ""


def test_workers_that_do_not_divide_a_batch_are_refused_by_name(run: Run) -> None:
    uneven = replace(run, context=replace(run.context, train_workers=3))
    with pytest.raises(
        ValueError, match=r"COMEM_TRAIN_WORKERS is 3, but .* batch of 4 .* one of 1, 2, 4, or batch_size"
    ):
        check_training(uneven)
    check_training(replace(run, context=replace(run.context, train_workers=2)))
