"""The GPU kit notices a step in micro-batches that has another gradient than the unsplit one."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from comem_core.measures.gpu import training
from comem_core.measures.gpu.cards import TimeLimit
from comem_core.measures.gpu.equality import TOLERANCE, UnequalGradients, accumulate_unsplit, measure_equality
from comem_core.measures.gpu.setup import Setup
from comem_core.measures.results import Measured
from comem_core.training.batches import PreparedBatch
from comem_core.training.memory import AnswerFromMemory, Memories


class Forgetful(AnswerFromMemory):
    """Loses the gradient of the last item where a step is cut into micro-batches."""

    def remember(self, batch: PreparedBatch) -> Memories:
        memories = super().remember(batch)
        if self.compute.tokens_at_once is not None:
            memories.memory_BMD.register_hook(lose_the_last)
        return memories


def lose_the_last(gradient_BMD: Tensor) -> Tensor:
    return torch.cat([gradient_BMD[:-1], torch.zeros_like(gradient_BMD[-1:])])


class FitsOne(AnswerFromMemory):
    """Has no memory for more than one sample at once."""

    def remember(self, batch: PreparedBatch) -> Memories:
        if self.compute.tokens_at_once is None and len(batch.shown) > 1:
            raise torch.OutOfMemoryError("too many samples")
        return super().remember(batch)


def collect(rows: Iterator[Measured], into: dict[str, Measured]) -> None:
    for row in rows:
        into[row.measure] = row


def test_micro_batches_have_the_unsplit_gradient_within_the_tolerance(setup: Setup):
    before = {name: weight.detach().clone() for name, weight in setup.encoder.parameters().items()}
    rows: dict[str, Measured] = {}
    collect(measure_equality(setup, TimeLimit(60)), rows)
    error = rows["micro_batch_gradient_error"]
    assert 0 < error.value < TOLERANCE / 5
    assert error.unit == "of the gradient's length; tolerance 0.03: holds"
    assert error.n == setup.workload.batch_size
    assert rows["micro_batch_loss_error"].value < 1e-3
    # The encoder is as it was: its weights, and its dropout.
    assert all(torch.equal(weight, before[name]) for name, weight in setup.encoder.parameters().items())
    dropouts = [each for each in setup.encoder.backbone.model.modules() if isinstance(each, torch.nn.Dropout)]
    assert dropouts and {each.p for each in dropouts} == {setup.encoder.recipe.lora_dropout} != {0.0}


def test_a_lost_item_is_found(setup: Setup, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "AnswerFromMemory", Forgetful)
    rows: dict[str, Measured] = {}
    with pytest.raises(
        UnequalGradients, match=r"differs from the unsplit one by 0\.\d+ of its length; expected at most"
    ):
        collect(measure_equality(setup, TimeLimit(60)), rows)
    assert rows["micro_batch_gradient_error"].value > TOLERANCE
    assert rows["micro_batch_gradient_error"].unit.endswith("tolerance 0.03: does not hold")


def test_an_unsplit_step_that_does_not_fit_is_compared_with_fewer_samples(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(training, "AnswerFromMemory", FitsOne)
    rows: dict[str, Measured] = {}
    collect(measure_equality(setup, TimeLimit(60)), rows)
    assert rows["micro_batch_gradient_error"].n == 1
    assert "the unsplit step fits with 1 of 2 samples; these are compared" in capsys.readouterr().out


def test_a_step_of_one_sample_that_does_not_fit_ends_the_comparison(setup: Setup):
    class FitsNone(AnswerFromMemory):
        def remember(self, batch: PreparedBatch) -> Memories:
            raise torch.OutOfMemoryError("nothing fits")

    whole = training.make_objective(setup)
    objective = FitsNone(setup.encoder, whole.recipe, whole.batches.samples)
    with pytest.raises(MemoryError, match="the unsplit step of one sample does not fit"):
        accumulate_unsplit(objective, setup.make_samples(), setup.device)
    setup.encoder.set_trainable(False)
