"""`make bench`: how fast memory is read, opened and trained, what one shared backbone saves, how long scoring takes.

Time to first token (TTFT) is the time of one forward pass over the prompt and the choice of one token, at batch size 1.
Encoding the items is not counted, because a memory is made once. Both sides of a ratio are measured in the same run: on
the shipped model with the items of its world, and on a random model of 117 million parameters with items of a given
length. `--only` measures one part again and keeps the other rows.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import torch

from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import Question
from comem_core.measures.gpu.workload import WORKLOADS
from comem_core.measures.opening import measure_opening
from comem_core.measures.peak_memory import NUM_RUNS, make_large_encoder, measure_peaks, save_large_model
from comem_core.measures.provenance import describe_machine
from comem_core.measures.reading import (
    BATCH,
    lengthen_items,
    measure_answer_rates,
    measure_median_seconds,
    measure_ttft_ratio,
)
from comem_core.measures.results import Measured
from comem_core.measures.scoring import NUM_PREDICTIONS, measure_scoring
from comem_core.measures.service import measure_service
from comem_core.measures.tables import record_rows
from comem_core.measures.training.estimates import SHAPE, compare_with_estimates, estimate_7b
from comem_core.measures.training.rates import measure_encoding_ratios, measure_two_workers
from comem_core.measures.training.sharing import HELD, SHARED, measure_sharing
from comem_core.measures.training.steps import AUTHORS, TINY, WAYS, measure_ways
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

TOPIC, RECIPE, LARGE_RECIPE, ENCODER = "speed", "tiny_cpu", "random_117m", "tiny-encoder"
COMMAND = "make bench"
REPEATS, LARGE_REPEATS, OPENING_REPEATS, SERVICE_REPEATS, RATE_REPEATS, TRAIN_REPEATS = 15, 3, 3, 5, 5, 1
DEPTHS = (3, 10, 50)
SHARING_REPEATS, WORKER_REPEATS = 2, 3
ESTIMATED_TOKENS = (8192, 4096, 2048)
SHARING_WORKERS, SHARING_TOKENS = (2, 4), 2048
# For the large model: tokens of an item in the prompt -> numbers of items. 643 is the paper's mean length; fifty such
# items, a prompt of 32,000 tokens, would take one core far longer than everything else.
LARGE_DEPTHS: Mapping[int, Sequence[int]] = {100: DEPTHS, 643: (3, 10)}


def main(
    arguments: Sequence[str] | None = None, *, parts: Mapping[str, Callable[[], Iterator[Measured]]] | None = None
) -> None:
    """Measure, print, and write `docs/results/speed.json`."""
    parts = PARTS if parts is None else parts
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=main.__doc__)
    parser.add_argument("--only", choices=parts, help="measure only this part and keep the other rows as they are")
    only = parser.parse_args(arguments).only
    torch.set_num_threads(1)
    rows = []
    for row in chain.from_iterable(measure() for name, measure in parts.items() if only in (None, name)):
        print(f"{row.measure:>32}  {row.value:.2f} {row.unit}", flush=True)
        rows.append(row)
    record_rows(TOPIC, rows)


def _measure_scoring() -> Iterator[Measured]:
    seconds = measure_scoring()
    yield make_row("score_100k_seconds", seconds, "s of one core", n=NUM_PREDICTIONS, recipe="made rows, every metric")


def _measure_speed() -> Iterator[Measured]:
    recipe = find_recipe(RECIPE)
    encoder = MemoryEncoder(load_backbone(recipe.backbone.name), recipe.training.encoder)
    items = load_knowledge_items()[: max(DEPTHS)]
    [seconds] = measure_median_seconds(lambda: encoder.encode_batch(items[:BATCH]), repeats=REPEATS)
    yield make_row("encode_items_per_s", BATCH / seconds, "items/s", n=REPEATS)
    for k in DEPTHS:
        ratio = measure_ttft_ratio(encoder, _load_question(), items[:k], repeats=REPEATS)
        yield make_row(f"ttft_ratio_k{k}", ratio, "text / memory", n=REPEATS)


def _measure_answers() -> Iterator[Measured]:
    encoder = MemoryEncoder.from_pretrained(ENCODER)
    few = measure_answer_rates(encoder, k=3, repeats=RATE_REPEATS)
    yield make_row("memory_vs_none_answers", few.memory / few.none, "memory / none", n=RATE_REPEATS)
    many = measure_answer_rates(encoder, k=10, repeats=RATE_REPEATS)
    yield make_row("text_vs_memory_answers_k10", many.memory / many.text, "memory / text", n=RATE_REPEATS)


def _measure_large() -> Iterator[Measured]:
    with tempfile.TemporaryDirectory() as folder:
        save_large_model(Path(folder))
        encoder = make_large_encoder(folder)
    english = [item for item in load_knowledge_items() if item.language == "en"]
    for num_tokens, depths in LARGE_DEPTHS.items():
        items = lengthen_items(encoder, english, num_tokens)
        for k in depths:
            ratio = measure_ttft_ratio(encoder, _load_question(), items[:k], repeats=LARGE_REPEATS)
            name = f"ttft_ratio_k{k}_117m_{num_tokens}_tokens"
            yield make_row(name, ratio, "text / memory", n=LARGE_REPEATS, recipe=LARGE_RECIPE)


def _measure_memory() -> Iterator[Measured]:
    peaks = measure_peaks()
    yield make_row("peak_memory_one_copy_gb", peaks.one_copy / 1e9, "GB", n=NUM_RUNS)
    yield make_row("peak_memory_two_copies_gb", peaks.two_copies / 1e9, "GB", n=NUM_RUNS)
    yield make_row("peak_memory_backbone_weights_gb", peaks.weights / 1e9, "GB", n=1)


def _measure_opening() -> Iterator[Measured]:
    times = measure_opening(repeats=OPENING_REPEATS)
    ratio = times.opened / times.encoded
    yield make_row("open_seconds_ratio", ratio, "opened / encoded", n=OPENING_REPEATS)


def _measure_service() -> Iterator[Measured]:
    rates = measure_service(repeats=SERVICE_REPEATS)
    yield make_row("service_vs_library", rates.service / rates.library, "service / library", n=SERVICE_REPEATS)


def _measure_encoding() -> Iterator[Measured]:
    ratios = measure_encoding_ratios(MemoryEncoder.from_pretrained(ENCODER), repeats=RATE_REPEATS)
    for which, ratio in ratios.items():
        yield make_row(f"encode_batched_ratio/{which}", ratio, "batched / one at a time", n=RATE_REPEATS)


def _measure_workers() -> Iterator[Measured]:
    ratio = measure_two_workers(repeats=WORKER_REPEATS)
    yield make_row("two_workers_ratio", ratio, "two workers / one", n=WORKER_REPEATS)


def _measure_training() -> Iterator[Measured]:
    yield from _measure_ways(TINY, "", RECIPE)


def _measure_large_training() -> Iterator[Measured]:
    with tempfile.TemporaryDirectory() as folder:
        save_large_model(Path(folder))
        yield from _measure_ways(folder, "_117m", LARGE_RECIPE)


def _measure_estimates() -> Iterator[Measured]:
    with tempfile.TemporaryDirectory() as folder:
        save_large_model(Path(folder))
        for found in compare_with_estimates(folder):
            for name, seen in (("handed_back", found.handed_back), ("kept", found.kept)):
                measure, ratio = f"train_memory_vs_estimate_{name}/{found.way}", seen / found.estimated
                yield make_row(measure, ratio, "measured / estimated", n=1, recipe=LARGE_RECIPE)
    for tokens in ESTIMATED_TOKENS:
        needed = estimate_7b(tokens)
        parts = {"total": needed.total, "activations": needed.activations}
        for name, size in parts.items():
            measure = f"train_memory_estimate_gb_{name}/{tokens}"
            yield make_row(measure, size / 1e9, "GB, computed", n=1, recipe=WORKLOADS[SHAPE].recipe)


def _measure_sharing() -> Iterator[Measured]:
    with tempfile.TemporaryDirectory() as folder:
        save_large_model(Path(folder))
        costs = measure_sharing(folder, repeats=SHARING_REPEATS)
    held, shared = costs[HELD], costs[SHARED]
    make = partial(make_row, n=SHARING_REPEATS, recipe=LARGE_RECIPE)
    yield make("train_shared_memory_ratio", shared.peak_bytes / held.peak_bytes, "shared / held")
    yield make("train_shared_seconds_ratio", shared.seconds / held.seconds, "shared / held")
    for way, cost in costs.items():
        ratio = cost.peak_bytes / cost.estimated_bytes
        yield make(f"train_shared_memory_vs_estimate/{way}", ratio, "measured / estimated")
    whole = estimate_7b(SHARING_TOKENS)
    for workers in SHARING_WORKERS:
        measure, needed = f"train_memory_estimate_gb_shared/{workers}", whole.share_out(workers)
        yield make_row(measure, needed.total / 1e9, "GB, computed", n=1, recipe=WORKLOADS[SHAPE].recipe)


def _measure_ways(model: str, suffix: str, recipe: str) -> Iterator[Measured]:
    costs = measure_ways(model, (AUTHORS, *WAYS), repeats=TRAIN_REPEATS)
    theirs = costs[AUTHORS]
    make = partial(make_row, n=TRAIN_REPEATS, recipe=recipe)
    for way in WAYS:
        ours, name = costs[way], f"vs_authors{suffix}/{way}"
        yield make(f"train_samples_ratio_{name}", ours.samples_per_s / theirs.samples_per_s, "ours / theirs")
        yield make(f"train_memory_ratio_{name}", ours.peak_bytes / theirs.peak_bytes, "ours / theirs")


def _load_question() -> Question:
    return load_benchmark_questions("dev")[0]


def make_row(measure: str, value: float, unit: str, *, n: int, recipe: str = RECIPE) -> Measured:
    """Make a row of this topic, measured by `make bench` with one torch thread."""
    return Measured(
        measure=measure,
        recipe=recipe,
        value=round(value, 2),
        unit=unit,
        n=n,
        command=COMMAND,
        machine=f"{describe_machine()}, 1 torch thread, load {os.getloadavg()[0]:.0f}",
    )


PARTS: Mapping[str, Callable[[], Iterator[Measured]]] = {
    "speed": _measure_speed,
    "answers": _measure_answers,
    "large": _measure_large,
    "memory": _measure_memory,
    "scoring": _measure_scoring,
    "opening": _measure_opening,
    "service": _measure_service,
    "encoding": _measure_encoding,
    "training": _measure_training,
    "workers": _measure_workers,
    "large-training": _measure_large_training,
    "estimates": _measure_estimates,
    "sharing": _measure_sharing,
}
"""What can be measured, by the name that `--only` takes."""


if __name__ == "__main__":
    main()
