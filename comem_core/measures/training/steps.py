"""Measures how fast training steps are and how much memory they take, each way in a process of its own.

`python -m comem_core.measures.training.steps MODEL WAY` prints the seconds of each step and the bytes of its peak as
JSON. The peak counts what is above the interpreter with its libraries: weights, gradients, optimiser, activations.
"""

import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bind
from random import Random

import torch
from torch import Tensor, nn

from comem_core.backbone.loading import load_backbone
from comem_core.measures.peak_memory import NUM_HEADS
from comem_core.measures.training.authors import accumulate_as_authors
from comem_core.measures.training.processes import run_elsewhere
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.recipes import find_recipe
from comem_core.tracking.peaks import read_peak_bytes
from comem_core.training.loop import Objective, Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

AUTHORS, WHOLE, MICRO, CHECKPOINTED, BOTH = "authors", "whole", "micro-batches", "checkpointing", "both"
WAYS: Mapping[str, ComputeOptions] = {
    WHOLE: ComputeOptions(),
    MICRO: ComputeOptions(tokens_at_once=512),
    CHECKPOINTED: ComputeOptions(gradient_checkpointing=True),
    BOTH: ComputeOptions(tokens_at_once=512, gradient_checkpointing=True),
}
TINY = "tiny"
BATCH_SIZE, NUM_ITEMS = 16, 3
NUM_STEPS, NUM_LARGE_STEPS = 4, 2  # of which the first is not measured


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """Samples a second, median of the steps, and the bytes of the peak above interpreter and libraries."""

    samples_per_s: float
    peak_bytes: float


def measure_ways(model: str, ways: Sequence[str], *, repeats: int) -> dict[str, StepCost]:
    """Measure the ways to train on the model of a folder or a shipped name, by turns, `repeats` times each."""
    found: dict[str, list[dict]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            found[way].append(run_elsewhere("comem_core.measures.training.steps", model, way))
    costs = {
        way: StepCost(
            samples_per_s=BATCH_SIZE / statistics.median(step for each in turns for step in each["seconds"]),
            peak_bytes=statistics.median(each["peak_bytes"] for each in turns),
        )
        for way, turns in found.items()
    }
    for way, cost in costs.items():
        print(f"{way:>14}: {cost.samples_per_s:.2f} samples/s, {cost.peak_bytes / 1e9:.2f} GB", flush=True)
    return costs


class AsAuthors(Objective):
    """The objective of a batch as the authors compute it."""

    def __init__(self, encoder: MemoryEncoder, model: str, samples: Sequence[TrainingSample]):
        self.encoder, self.samples = encoder, samples
        self.reader = load_backbone(model)
        encoder.set_trainable(True)

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.encoder.parameters()

    def accumulate_gradient(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        batch = self.samples[step * BATCH_SIZE : (step + 1) * BATCH_SIZE]
        accumulate_as_authors(self.encoder, self.reader, batch)
        return torch.zeros(()), {"samples": float(len(batch)), "tokens": 0.0}


def make_samples(num_samples: int) -> list[TrainingSample]:
    """Make samples of the countries' questions, each with the item that answers and two others of its language."""
    items = {item.item_id: item for item in load_knowledge_items()}
    samples = []
    for question in load_benchmark_questions("dev")[:num_samples]:
        gold = items[question.gold_item_id or ""]
        others = [item for item in items.values() if item.language == gold.language and item is not gold]
        drawn = Random(question.question_id).sample(others, NUM_ITEMS - 1)
        samples.append(TrainingSample.of(question, [gold, *drawn]))
    return samples


def run_way(model: str, way: str) -> dict[str, object]:
    """Train some steps one way, and return their seconds and the peak."""
    torch.set_num_threads(1)
    num_steps = NUM_STEPS if model == TINY else NUM_LARGE_STEPS
    samples = make_samples(num_steps * BATCH_SIZE)
    before = read_peak_bytes()
    recipe = find_recipe("tiny_cpu").training.encoder if model == TINY else EncoderRecipe(num_heads=NUM_HEADS)
    encoder = MemoryEncoder(load_backbone(model), recipe)
    optimizer = OptimizerRecipe(num_steps=num_steps, batch_size=BATCH_SIZE)
    make: Callable[[], Objective] = bind(AsAuthors, encoder, model, samples)
    if way != AUTHORS:
        training_recipe = TrainingRecipe(encoder=recipe, optimizer=optimizer, items_per_sample=NUM_ITEMS)
        make = bind(AnswerFromMemory, encoder, training_recipe, samples, compute=WAYS[way])
    seconds: list[float] = []
    Training(make(), optimizer).run(lambda report: seconds.append(report.seconds))
    return {"seconds": seconds[1:], "peak_bytes": read_peak_bytes() - before}


if __name__ == "__main__":
    print(json.dumps(run_way(*sys.argv[1:])))
