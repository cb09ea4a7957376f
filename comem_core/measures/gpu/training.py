"""Training steps at the recipe's settings: how fast they are, what memory they take, and what share of the card's peak
they use.

Floating-point operations are counted by torch while the first step runs on the device: matrix products, convolutions
and attention, with what is computed again for checkpoints and micro-batches, and causal attention counted whole. On a
CPU torch has no formula for attention, which is then not counted.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from comem_core.measures.gpu.cards import TimeLimit, find_peak_flops, measure_peak, name_device
from comem_core.measures.gpu.model import make_encoder
from comem_core.measures.gpu.setup import Setup
from comem_core.measures.results import Measured
from comem_core.training import gpu_defaults
from comem_core.training.estimate import estimate_training_memory
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions
from comem_core.training.reports import StepReport
from comem_core.training.shapes import META


def measure_training(setup: Setup, limit: TimeLimit) -> Iterator[Measured]:
    """Train a few steps, of which the first warms up and is not timed."""
    objective = make_objective(setup)
    training = Training(objective, objective.recipe.optimizer)
    reports: list[StepReport] = []
    try:
        with CountedOperations() as counted:
            training.run(lambda report: None, until=1)
        while len(reports) < setup.workload.repeats and not (reports and limit.is_over):
            training.run(reports.append, until=training.step + 1)
        peak = measure_peak(setup.device)
    finally:
        setup.encoder.set_trainable(False)
        forget_gradients(objective)
    yield from _describe_steps(setup, objective, [report.seconds for report in reports], counted.total)
    yield setup.make_row("train_peak_memory_gb", peak / 1e9, f"GB {_name_peak(setup)}", n=len(reports))
    if setup.device.type == "cuda":
        reserved = torch.cuda.max_memory_reserved(setup.device) / 1e9
        yield setup.make_row("train_reserved_memory_gb", reserved, "GB reserved on the card", n=len(reports))
    if (estimate := estimate_peak(setup, objective)) is not None:
        yield setup.make_row("train_peak_vs_estimate", peak / estimate, "measured / estimated", n=len(reports))


def make_objective(setup: Setup) -> AnswerFromMemory:
    """Make the recipe's objective on one batch of samples, with the settings that a GPU has by default."""
    optimizer = replace(setup.training.optimizer, batch_size=setup.workload.batch_size)
    recipe = replace(
        setup.training,
        optimizer=optimizer,
        encoder=setup.encoder.recipe,
        items_per_sample=setup.workload.items_per_sample,
    )
    compute = ComputeOptions(
        tokens_at_once=setup.workload.tokens_at_once, gradient_checkpointing=gpu_defaults.GRADIENT_CHECKPOINTING
    )
    return AnswerFromMemory(setup.encoder, recipe, setup.make_samples(), compute=compute)


def estimate_peak(setup: Setup, objective: AnswerFromMemory) -> float | None:
    """Return the bytes that a plan promises for the peak of these steps, computed from the model's shapes.

    None on a CPU, where only the peak of the whole process can be measured.
    """
    return estimate_tensors(setup, objective) if setup.device.type == "cuda" else None


def estimate_tensors(setup: Setup, objective: AnswerFromMemory) -> float:
    """Estimate the bytes of the tensors at the peak of these steps."""
    make = partial(make_encoder, setup.workload, META)
    return estimate_training_memory(make, objective.recipe, objective.batches.samples, objective.compute).total


class CountedOperations(TorchDispatchMode):
    """Counts floating-point operations while it is on, by torch's own formulas for the shapes of each operation.

    torch's `FlopCounterMode` also tracks modules, which fails on the Q-Former where it encodes without a graph.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=found)
        return found


def forget_gradients(objective: AnswerFromMemory) -> None:
    """Free the gradients of an objective's parameters."""
    for parameter in objective.trainable().values():
        parameter.grad = None


def _describe_steps(setup: Setup, objective: AnswerFromMemory, seconds: list[float], flops: int) -> Iterator[Measured]:
    """Yield the rows on the speed of steps, of which all have the same samples."""
    batch = objective.batches.prepare(objective.batches.samples)
    assert batch.item_tokens is not None
    vectors = setup.encoder.recipe.num_vectors * sum(map(len, batch.shown))
    tokens = sum(batch.item_tokens.lengths) + sum(batch.questions.lengths) + vectors
    median, n = statistics.median(seconds), len(seconds)
    yield setup.make_row("train_samples_per_s", len(batch.shown) / median, "samples/s", n=n)
    yield setup.make_row("train_tokens_per_s", tokens / median, "tokens/s, of items, questions and memories", n=n)
    budget = objective.compute.tokens_at_once or 0
    if budget != setup.workload.tokens_at_once:
        print(f"  the micro-batches of the recipe did not fit on the device; they had {budget} tokens", flush=True)
    yield setup.make_row("train_tokens_at_once", budget, "tokens of a micro-batch", n=1)
    yield setup.make_row("train_tflop_per_step", flops / 1e12, "10^12 operations, recomputed ones included", n=1)
    peak = find_peak_flops(name_device(setup.device))
    if peak is None:
        print(f"  the bf16 peak of {name_device(setup.device)} is not known: its share is left out", flush=True)
    else:
        share = flops / median / peak
        yield setup.make_row("train_share_of_peak", share, f"of {peak / 1e12:g} TFLOP/s, dense bf16", n=n)


def _name_peak(setup: Setup) -> str:
    return "allocated on the card" if setup.device.type == "cuda" else "of the whole process so far"
