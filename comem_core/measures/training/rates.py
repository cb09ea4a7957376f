"""Measures what batches bring to encoding, and a second worker to training, on the shipped model on a CPU.

`python -m comem_core.measures.training.rates RANK WORKERS MEETING` is one of the workers. It prints the seconds of its
steps as JSON. Each worker has one thread, and so a core of its own where there are enough.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial as bind
from pathlib import Path
from random import Random

import torch
from torch import distributed

from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import KnowledgeItem
from comem_core.measures.reading import measure_median_seconds
from comem_core.measures.training.processes import run_workers
from comem_core.measures.training.steps import BATCH_SIZE, NUM_ITEMS, TINY, make_samples
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from comem_core.worlds.countries.world import load_knowledge_items

NUM_ENCODED, MOST_TEXTS = 128, 8  # items, and texts that are joined to make one longer
ENCODED_AT_ONCE = (16, 64)
NUM_STEPS = 9  # of which the first is not measured


def measure_encoding_ratios(encoder: MemoryEncoder, *, repeats: int) -> dict[str, float]:
    """Return how many times as fast items are encoded in batches as one at a time, by their lengths and batch size."""
    items = load_knowledge_items()[:NUM_ENCODED]
    found = {}
    for lengths, made in (("equal", items), ("mixed", vary_lengths(items))):

        def encode(batch_size: int, made: Sequence[KnowledgeItem] = made) -> object:
            return encoder.encode(made, batch_size=batch_size, grid=None)

        works = [bind(encode, size) for size in (1, *ENCODED_AT_ONCE)]
        alone, *batched = measure_median_seconds(*works, repeats=repeats)
        for size, seconds in zip(ENCODED_AT_ONCE, batched, strict=True):
            found[f"{lengths}/{size}"] = alone / seconds
    return found


def vary_lengths(items: Sequence[KnowledgeItem]) -> list[KnowledgeItem]:
    """Lengthen each item by the texts of up to seven others, so that some are several times as long as others."""
    random = Random(0)
    texts = [item.text for item in items]
    return [
        replace(item, text=" ".join([item.text, *random.sample(texts, random.randrange(MOST_TEXTS))])) for item in items
    ]


def measure_two_workers(*, repeats: int) -> float:
    """Return how many times as many samples a second two workers train on as one, with the same batches, by turns."""
    seconds: Mapping[int, list[float]] = {1: [], 2: []}
    for _ in range(repeats):
        for num_workers, found in seconds.items():
            with tempfile.TemporaryDirectory() as meeting:
                given = [[str(rank), str(num_workers), str(Path(meeting, "store"))] for rank in range(num_workers)]
                found += run_workers(__spec__.name, given)[0]
    one, two = (statistics.median(found) for found in seconds.values())
    print(f"{BATCH_SIZE / one:.1f} samples/s of one worker, {BATCH_SIZE / two:.1f} of two", flush=True)
    return one / two


def train_as_worker(rank: int, num_workers: int, meeting: str) -> list[float]:
    """Train some steps as one of the workers, and return the seconds of each step but the first."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=num_workers)
    optimizer = OptimizerRecipe(num_steps=NUM_STEPS, batch_size=BATCH_SIZE)
    recipe = TrainingRecipe(
        encoder=find_recipe("tiny_cpu").training.encoder, optimizer=optimizer, items_per_sample=NUM_ITEMS
    )
    encoder = MemoryEncoder(load_backbone(TINY), recipe.encoder)
    samples = make_samples(NUM_STEPS * BATCH_SIZE)
    seconds: list[float] = []
    objective = AnswerFromMemory(encoder, recipe, samples, rank=rank, num_ranks=num_workers)
    Training(objective, optimizer).run(lambda report: seconds.append(report.seconds))
    distributed.destroy_process_group()
    return seconds[1:]


if __name__ == "__main__":
    print(json.dumps(train_as_worker(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
