"""Says before the first stage what a training takes on a GPU, and refuses one that its workers or cards cannot do."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from functools import partial as bind
from typing import TYPE_CHECKING

from comem_core.backbone.quantization import OFF, Quantization
from comem_core.recipes.recipe import Recipe
from comem_core.training import gpu_defaults
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe
from tasks.engine.context import ParameterRefused, has_gpu
from tasks.engine.telling import say
from tasks.run import Run
from tasks.training.encoder import make_compute_options

if TYPE_CHECKING:
    from comem_core.training.estimate import TrainingMemory

LEAST_TOKENS = 512
"""Smaller micro-batches are not proposed: one item of the paper's mean length has more tokens."""
SMALLEST: Quantization = "nf4"
MOST_SHARING = 16
"""More workers are not proposed: with each, less is won."""


def check_training(run: Run) -> None:
    """Say what training takes on each GPU, as computed from the shapes of the model.

    Raises:
        ParameterRefused: the workers of training do not divide a batch, or are to share a quantised backbone; or the
            tensors alone are larger than the smallest card of this machine, and the message has the settings that would
            fit, if there are any.
    """
    refuse_uneven_shares(run, run.recipe.training.optimizer)
    refuse_shared_quantized(run)
    if run.context.device != "cuda" or not run.backbone.uri:
        return
    from comem_core.training.shapes import UnknownShape

    compute = make_compute_options(run.context)
    try:
        whole = estimate_memory(run.recipe, run.backbone.uri, compute, num_workers=run.context.train_workers)
    except UnknownShape as error:
        say(f"what training takes on each GPU cannot be computed for {run.recipe.backbone.name}: {error}")
        return
    needed = whole.share_out(run.context.train_workers) if compute.sharded else whole
    say(f"training takes {needed} on each GPU, computed from shapes; CUDA and its allocator take more")
    card = find_card_bytes()
    if card is not None and needed.total > card:
        raise ParameterRefused(
            f"training takes {needed} on each GPU, but a card of this machine has {card / 1e9:.1f} GB: "
            f"{_propose(run, compute, whole, card)}{_propose_fewer_bits(run, compute)}"
        )


def refuse_uneven_shares(run: Run, optimizer: OptimizerRecipe) -> None:
    """Raise ParameterRefused if the workers of training do not divide the batch of an optimizer."""
    size, workers = optimizer.batch_size, run.context.train_workers
    if size % workers:
        fitting = ", ".join(str(each) for each in range(1, size + 1) if size % each == 0)
        raise ParameterRefused(
            f"COMEM_TRAIN_WORKERS is {workers}, but a training step's batch of {size} cannot be split evenly over "
            f"{workers} workers. Set it to one of {fitting}, or batch_size in the recipe to a multiple of {workers}"
        )


def refuse_shared_quantized(run: Run) -> None:
    """Raise ParameterRefused if the workers of training are to share the layers of a quantised backbone."""
    quantization, workers = run.recipe.backbone.quantization, run.context.train_workers
    if quantization != OFF and run.context.train_sharding == "on":
        raise ParameterRefused(
            f"COMEM_TRAIN_SHARDING is on, but the layers of a backbone in {quantization} cannot be shared out (torch's "
            f"fully_shard knows neither its packed weights nor their scales). Unset it: each of the {workers} training "
            f"workers then holds the backbone in {quantization}; or set the backbone's quantization to {OFF!r}"
        )


@cache
def estimate_memory(recipe: Recipe, backbone: str, compute: ComputeOptions, *, num_workers: int) -> "TrainingMemory":
    """Estimate a worker's share of a step, with items of the paper's mean length, for a backbone in a folder that each
    worker holds whole."""
    import torch

    from comem_core.backbone.loading import load_backbone
    from comem_core.memory.encoder import MemoryEncoder
    from comem_core.training.estimate import estimate_training_memory, make_typical_samples

    held = recipe.backbone
    load = bind(
        load_backbone, backbone, dtype=getattr(torch, held.dtype), device="meta", quantization=held.quantization
    )
    count = math.ceil(recipe.training.optimizer.batch_size / num_workers)
    return estimate_training_memory(
        lambda: MemoryEncoder(load(), recipe.training.encoder),
        recipe.training,
        make_typical_samples(count, recipe.training.items_per_sample),
        compute,
    )


def find_card_bytes() -> int | None:
    """Return the memory of the smallest GPU that torch sees on this machine; None without one."""
    if not has_gpu():
        return None
    import torch

    return min(torch.cuda.get_device_properties(place).total_memory for place in range(torch.cuda.device_count()))


def _propose(run: Run, compute: ComputeOptions, whole: "TrainingMemory", card: int) -> str:
    """Name the largest micro-batch that fits, or the workers that could share the model."""
    workers = run.context.train_workers

    def share(memory: "TrainingMemory") -> "TrainingMemory":
        return memory.share_out(workers) if compute.sharded else memory

    needed = share(whole)
    for smaller in _list_smaller(compute) if needed.total - needed.activations <= card else ():
        found = share(estimate_memory(run.recipe, run.backbone.uri, smaller, num_workers=workers))
        if found.total <= card:
            return f"with {_write_settings(smaller)} it would take {found.total / 1e9:.1f} GB"
    if run.recipe.backbone.quantization != OFF:
        return f"not even with micro-batches of {LEAST_TOKENS} tokens; take a larger card or a smaller model"
    return _propose_sharing(run, compute, whole, card)


def _propose_sharing(run: Run, compute: ComputeOptions, whole: "TrainingMemory", card: int) -> str:
    """Name the fewest workers, each with a card, among which the layers fit, at need with the smallest micro-batches.

    Their activations are at most those of now, as each worker's share of a batch is smaller.
    """
    size, workers = run.recipe.training.optimizer.batch_size, run.context.train_workers
    least = replace(compute, gradient_checkpointing=True, tokens_at_once=LEAST_TOKENS)
    # Only estimated where it is needed: an estimate of a 7B takes a minute.
    estimate_least = bind(estimate_memory, run.recipe, run.backbone.uri, least, num_workers=workers)
    ways = (("", lambda: whole), (f" {_write_settings(least)}", estimate_least))
    for count in (each for each in range(max(2, workers), MOST_SHARING + 1) if size % each == 0):
        for further, estimate in ways:
            if (found := estimate().share_out(count)).total <= card:
                settings = f"COMEM_TRAIN_SHARDING=on COMEM_TRAIN_WORKERS={count}{further}"
                return f"with {settings}, a card for each worker, it would take at most {found.total / 1e9:.1f} GB"
    return (
        f"not even with micro-batches of {LEAST_TOKENS} tokens, and layers shared among {MOST_SHARING} workers; take a "
        "larger card or a smaller model"
    )


def _propose_fewer_bits(run: Run, compute: ComputeOptions) -> str:
    """Name what the smallest backbone would take, which is another one, with the smallest micro-batches."""
    if run.recipe.backbone.quantization != OFF:
        return ""
    least = replace(compute, gradient_checkpointing=True, tokens_at_once=LEAST_TOKENS, sharded=False)
    other = replace(run.recipe, backbone=replace(run.recipe.backbone, quantization=SMALLEST))
    found = estimate_memory(other, run.backbone.uri, least, num_workers=run.context.train_workers)
    return (
        f". Another backbone, with quantization={SMALLEST} (docs/gpu.md), would take {found.total / 1e9:.1f} GB with "
        f"{_write_settings(least)}"
    )


def _write_settings(compute: ComputeOptions) -> str:
    return f"COMEM_TRAIN_TOKENS={compute.tokens_at_once} COMEM_TRAIN_CHECKPOINTING=on"


def _list_smaller(compute: ComputeOptions) -> Iterator[ComputeOptions]:
    """Yield settings that take less and less memory: first what is computed again, then ever smaller micro-batches."""
    tokens = compute.tokens_at_once or 2 * gpu_defaults.TOKENS_AT_ONCE
    if not compute.gradient_checkpointing:
        yield replace(compute, gradient_checkpointing=True, tokens_at_once=tokens)
    while (tokens := tokens // 2) >= LEAST_TOKENS:
        yield replace(compute, gradient_checkpointing=True, tokens_at_once=tokens)
