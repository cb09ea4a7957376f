"""Compares the estimated memory of training steps with the peak that the process really had, and estimates the 7B's.

`python -m comem_core.measures.training.estimates MODEL WAY` trains two steps and prints the bytes of their peak: those
of the weights, and what the process took besides them. Linux alone can begin a peak anew.
"""

import gc
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from comem_core.backbone.loading import load_backbone
from comem_core.backbone.quantization import OFF, Quantization
from comem_core.measures.gpu.model import make_encoder
from comem_core.measures.gpu.workload import RECIPE, WORKLOADS
from comem_core.measures.peak_memory import NUM_HEADS
from comem_core.measures.training.processes import run_elsewhere
from comem_core.measures.training.steps import BOTH, CHECKPOINTED, NUM_ITEMS, WAYS, WHOLE, make_samples
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.recipes import find_recipe
from comem_core.tracking.peaks import forget_peak_bytes, read_peak_bytes
from comem_core.training import gpu_defaults
from comem_core.training.estimate import TrainingMemory, estimate_training_memory, make_typical_samples
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.shapes import META

COMPARED = (WHOLE, CHECKPOINTED, BOTH)
BATCH_SIZE, NUM_STEPS = 8, 2
# Freed blocks of this size and more go back to the kernel (glibc). Otherwise it raises the size by itself, and keeps
# smaller ones.
HANDED_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072"}
SHAPE = "7b"


@dataclass(frozen=True, kw_only=True)
class ComparedPeak:
    """The bytes of a training's peak: by estimate, and measured with freed blocks handed back and with them kept."""

    way: str
    estimated: int
    handed_back: int
    kept: int


def compare_with_estimates(folder: str) -> Iterator[ComparedPeak]:
    """Train two steps of the large model in a folder each way, and estimate the same steps."""
    for way in COMPARED:
        handed_back, kept = (_measure_peak(folder, way, settings) for settings in (HANDED_BACK, {}))
        found = ComparedPeak(way=way, estimated=_estimate(folder, way).total, handed_back=handed_back, kept=kept)
        print(f"{way:>14}: {found.estimated / 1e9:.2f} GB estimated, {handed_back / 1e9:.2f} and {kept / 1e9:.2f} seen")
        yield found


def estimate_7b(tokens: int, quantization: Quantization = OFF) -> TrainingMemory:
    """Estimate the training of a model of the 7B's shape with micro-batches of so many tokens."""
    recipe = find_recipe(RECIPE).training
    compute = ComputeOptions(tokens_at_once=tokens, gradient_checkpointing=gpu_defaults.GRADIENT_CHECKPOINTING)
    samples = make_typical_samples(recipe.optimizer.batch_size, recipe.items_per_sample)
    make = partial(make_encoder, WORKLOADS[SHAPE], META, quantization=quantization)
    return estimate_training_memory(make, recipe, samples, compute)


def _make_recipe() -> TrainingRecipe:
    optimizer = OptimizerRecipe(num_steps=NUM_STEPS, batch_size=BATCH_SIZE)
    return TrainingRecipe(encoder=EncoderRecipe(num_heads=NUM_HEADS), optimizer=optimizer, items_per_sample=NUM_ITEMS)


def _estimate(folder: str, way: str) -> TrainingMemory:
    recipe = _make_recipe()
    return estimate_training_memory(
        lambda: MemoryEncoder(load_backbone(folder, device="meta"), recipe.encoder),
        recipe,
        make_samples(BATCH_SIZE),
        WAYS[way],
    )


def _measure_peak(folder: str, way: str, settings: dict[str, str]) -> int:
    return run_elsewhere("comem_core.measures.training.estimates", folder, way, **settings)


def train_and_measure(folder: str, way: str) -> int:
    """Train two steps of one batch in this process, and return the bytes of the peak."""
    torch.set_num_threads(1)
    recipe = _make_recipe()
    encoder = MemoryEncoder(load_backbone(folder), recipe.encoder)
    objective = AnswerFromMemory(encoder, recipe, make_samples(BATCH_SIZE), compute=WAYS[way])
    weights = [*encoder.backbone.model.parameters(), *encoder.qformer.parameters()]
    for weight in weights:
        weight.detach().sum()  # read from its file only now
    held = sum(weight.nbytes for weight in {id(each): each for each in weights}.values())
    _ = objective.batches[0]  # what the processor imports when it is first used
    gc.collect()
    forget_peak_bytes()
    before = read_peak_bytes()
    Training(objective, recipe.optimizer).run(lambda report: None)
    return held + read_peak_bytes() - before


if __name__ == "__main__":
    print(json.dumps(train_and_measure(*sys.argv[1:])))
