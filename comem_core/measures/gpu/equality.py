"""Whether a step in micro-batches has the gradient of the unsplit step, in bfloat16 and without dropout.

The two differ by rounding alone: a sum over other shapes is taken in another order, and rounded to eight bits after
each layer. On the CPU, 28 layers of these random weights differ by 0.01 of the gradient's length, whatever their width
(128, 512, 1024). The gradients of items have much in common, so a step that loses one micro-batch of 16 differs by
little more than 1 / 16 = 0.06. The tolerance lies between the two.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from comem_core.measures.gpu.cards import TimeLimit, begin_peak
from comem_core.measures.gpu.setup import Setup
from comem_core.measures.gpu.training import forget_gradients, make_objective
from comem_core.measures.results import Measured
from comem_core.memory.encoder import MemoryEncoder
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.samples import TrainingSample

TOLERANCE = 0.03


class UnequalGradients(ArithmeticError):
    """A step in micro-batches has another gradient than the unsplit one."""


@dataclass(frozen=True)
class Gradient:
    """The loss of a step, and its gradient by the parameter's name."""

    loss: float
    by_name: dict[str, Tensor]


def measure_equality(setup: Setup, limit: TimeLimit) -> Iterator[Measured]:
    """Compare the gradient of one step, unsplit and in micro-batches.

    Raises:
        UnequalGradients: they differ by more than the tolerance. The rows are made before.
    """
    samples = setup.make_samples()
    with prepare_comparison(setup.encoder):
        objective = make_objective(setup)
        try:
            whole, num_samples = accumulate_unsplit(objective, samples, setup.device)
            cut = accumulate(objective, samples[:num_samples], setup.workload.tokens_when_cut)
        finally:
            setup.encoder.set_trainable(False)
    if num_samples < len(samples):
        print(f"  the unsplit step fits with {num_samples} of {len(samples)} samples; these are compared", flush=True)
    error = compare_gradients(whole, cut)
    holds = error <= TOLERANCE
    verdict = f"tolerance {TOLERANCE}: {'holds' if holds else 'does not hold'}"
    yield setup.make_row("micro_batch_gradient_error", error, f"of the gradient's length; {verdict}", n=num_samples)
    loss_error = abs(cut.loss / whole.loss - 1)
    yield setup.make_row("micro_batch_loss_error", loss_error, "of the loss", n=num_samples)
    if not holds:
        raise UnequalGradients(
            f"the gradient of a step in micro-batches of {setup.workload.tokens_when_cut} tokens differs from the "
            f"unsplit one by {error:.3g} of its length; expected at most {TOLERANCE}"
        )


def compare_gradients(one: Gradient, other: Gradient) -> float:
    """Return the length of the difference of two gradients, as a share of the first one's length."""
    assert one.by_name.keys() == other.by_name.keys(), "two steps have gradients of different parameters"
    differences = [other.by_name[name].double() - each.double() for name, each in one.by_name.items()]
    lengths = [each.double() for each in one.by_name.values()]
    return float(nn.utils.get_total_norm(differences) / nn.utils.get_total_norm(lengths))


def accumulate_unsplit(
    objective: AnswerFromMemory, samples: list[TrainingSample], device: torch.device
) -> tuple[Gradient, int]:
    """Compute the gradient of an unsplit step, and with how many of the samples it fits on the device.

    Raises:
        MemoryError: it does not fit with one sample.
    """
    count = len(samples)
    while True:
        try:
            found = accumulate(objective, samples[:count], None)
        except MemoryError:
            found = None
        # An objective that runs out of memory halves its micro-batches by itself.
        if found is not None and objective.compute.tokens_at_once is None:
            return found, count
        if count == 1:
            raise MemoryError("the unsplit step of one sample does not fit on the device")
        begin_peak(device)
        count //= 2


def accumulate(objective: AnswerFromMemory, samples: list[TrainingSample], tokens_at_once: int | None) -> Gradient:
    """Compute the gradient of a step on some samples, in micro-batches of at most so many tokens."""
    forget_gradients(objective)
    objective.compute = replace(objective.compute, tokens_at_once=tokens_at_once)
    loss, _ = objective.accumulate_batch_gradient(objective.batches.prepare(samples))
    gradients = {name: each.grad for name, each in objective.trainable().items() if each.grad is not None}
    found = Gradient(float(loss), {name: gradient.clone() for name, gradient in gradients.items()})
    forget_gradients(objective)
    return found


@contextmanager
def prepare_comparison(encoder: MemoryEncoder) -> Iterator[None]:
    """Run without dropout, and with a LoRA that has an effect; an untrained one has none, nor gradients of its A."""
    dropouts = {module: module.p for module in encoder.backbone.model.modules() if isinstance(module, nn.Dropout)}
    second = [weight for name, weight in encoder.parameters().items() if "lora_B" in name]
    before = [weight.detach().clone() for weight in second]
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in second:
            weight.normal_(std=0.01)
    for module in dropouts:
        module.p = 0.0
    try:
        yield
    finally:
        for module, share in dropouts.items():
            module.p = share
        for weight, own in zip(second, before, strict=True):
            weight.data.copy_(own)
