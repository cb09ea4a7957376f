"""Measures what it brings and costs that two workers share the layers of a model, on a CPU.

`python -m comem_core.measures.training.sharing FOLDER WAY RANK MEETING` is one of the workers. It prints the seconds of
its steps and the bytes of its peak as JSON: of weights, gradients, optimizer and activations.
"""

import gc
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import distributed

from comem_core.backbone.loading import load_backbone
from comem_core.measures.peak_memory import NUM_HEADS
from comem_core.measures.training.estimates import HANDED_BACK
from comem_core.measures.training.processes import run_workers
from comem_core.measures.training.steps import NUM_ITEMS, make_samples
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.tracking.peaks import forget_peak_bytes, read_peak_bytes
from comem_core.training.estimate import TrainingMemory, estimate_training_memory
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.training.sharding import shard_encoder

HELD, SHARED = "held", "shared"
WORKERS, BATCH_SIZE, NUM_STEPS = 2, 4, 3  # of the steps, the first is not measured
OPTIMIZER = OptimizerRecipe(num_steps=NUM_STEPS, batch_size=BATCH_SIZE)
RECIPE = TrainingRecipe(
    encoder=EncoderRecipe(num_heads=NUM_HEADS, lora_dropout=0.0), optimizer=OPTIMIZER, items_per_sample=NUM_ITEMS
)


@dataclass(frozen=True, kw_only=True)
class WorkerCost:
    """The median seconds of a step, and the bytes of the larger of the two workers' peaks: measured and estimated."""

    seconds: float
    peak_bytes: float
    estimated_bytes: float


def measure_sharing(folder: str, *, repeats: int) -> dict[str, WorkerCost]:
    """Train the large model in a folder on two workers, which hold it whole or share it, by turns."""
    found: dict[str, list[dict]] = {HELD: [], SHARED: []}
    for _ in range(repeats):
        for way, turns in found.items():
            turns += _run_workers(folder, way)
    whole = _estimate(folder)
    estimates = {HELD: whole, SHARED: whole.share_out(WORKERS)}
    costs = {
        way: WorkerCost(
            seconds=statistics.median(step for each in turns for step in each["seconds"]),
            peak_bytes=max(each["peak_bytes"] for each in turns),
            estimated_bytes=estimates[way].total,
        )
        for way, turns in found.items()
    }
    for way, cost in costs.items():
        print(f"{way:>8}: {cost.seconds:.2f} s a step, {cost.peak_bytes / 1e9:.3f} GB, estimated {estimates[way]}")
    return costs


def _run_workers(folder: str, way: str) -> list[dict]:
    with tempfile.TemporaryDirectory() as meeting:
        given = [[folder, way, str(rank), str(Path(meeting, "store"))] for rank in range(WORKERS)]
        return run_workers(__spec__.name, given, **HANDED_BACK)


def _choose_samples(rank: int) -> Sequence[TrainingSample]:
    return make_samples(BATCH_SIZE)[rank::WORKERS]


def _estimate(folder: str) -> TrainingMemory:
    found = [
        estimate_training_memory(
            lambda: MemoryEncoder(load_backbone(folder, device="meta"), RECIPE.encoder),
            RECIPE,
            _choose_samples(rank),
            ComputeOptions(gradient_checkpointing=True),
        )
        for rank in range(WORKERS)
    ]
    return max(found, key=lambda each: each.total)


def train_as_worker(folder: str, way: str, rank: int, meeting: str) -> dict[str, object]:
    """Train some steps of one batch as one of the workers; return their seconds and the peak."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORKERS)
    samples = make_samples(BATCH_SIZE)
    before = psutil.Process().memory_info().rss
    encoder = MemoryEncoder(load_backbone(folder), RECIPE.encoder)
    if way == SHARED:
        shard_encoder(encoder, "cpu")
    compute = ComputeOptions(gradient_checkpointing=True, sharded=way == SHARED)
    objective = AnswerFromMemory(encoder, RECIPE, samples, rank=rank, num_ranks=WORKERS, compute=compute)
    for weight in encoder.backbone.model.parameters():
        weight.detach().sum()  # read from its file only now
    gc.collect()
    forget_peak_bytes()
    seconds: list[float] = []
    Training(objective, OPTIMIZER).run(lambda report: seconds.append(report.seconds))
    peak = read_peak_bytes() - before
    distributed.destroy_process_group()
    return {"seconds": seconds[1:], "peak_bytes": peak}


if __name__ == "__main__":
    print(json.dumps(train_as_worker(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
