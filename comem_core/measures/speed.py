"""`make bench`: how fast the shipped model encodes and answers here, what one copy of a backbone saves, and scoring.

Time to first token (TTFT) is the time of one forward pass over the prompt and the choice of one token, batch of one.
Ratios are measured in one run. `--only` speed, memory or scoring measures these rows anew and keeps the others.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.measures.peak_memory import NUM_RUNS, measure_peaks
from comem_core.measures.results import Measured, describe_machine, write_results
from comem_core.measures.scoring import NUM_PREDICTIONS, measure_scoring
from comem_core.measures.tables import refresh_tables
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import recipe_named
from comem_core.worlds.countries.world import benchmark_questions, knowledge_items

TOPIC, RECIPE = "speed", "tiny_cpu"
COMMAND = "make bench"
BATCH = 16
REPEATS = 15
PARTS = ("speed", "memory", "scoring")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write `docs/results/speed.json`."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=main.__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure these rows and keep the others as they are")
    only = parser.parse_args(arguments).only
    torch.set_num_threads(1)
    rows = [row for part in PARTS if only in (None, part) for row in _measure(part)]
    for row in rows:
        print(f"{row.measure:>32}  {row.value:.2f} {row.unit}")
    for path in (write_results(TOPIC, rows), *refresh_tables(TOPIC)):
        print(f"written: {path}")


def _measure(part: str) -> list[Measured]:
    return {"speed": _speed, "memory": _memory, "scoring": _scoring}[part]()


def _scoring() -> list[Measured]:
    seconds = measure_scoring()
    return [_row("score_100k_seconds", seconds, "s of one core", n=NUM_PREDICTIONS, recipe="made rows, every metric")]


def _speed() -> list[Measured]:
    recipe = recipe_named(RECIPE)
    encoder = MemoryEncoder(load_backbone(recipe.backbone.name), recipe.training.encoder)
    items, question = knowledge_items()[:50], benchmark_questions("dev")[0]
    rows = [_row("encode_items_per_s", BATCH / _seconds(lambda: encoder.encode_batch(items[:BATCH])), "items/s")]
    for k in (3, 10, 50):
        text, memory = _time_to_first_token(encoder, question, items[:k])
        rows.append(_row(f"ttft_ratio_k{k}", text / memory, "text / memory"))
    return rows


def _memory() -> list[Measured]:
    peaks = measure_peaks()
    return [
        _row("peak_memory_one_copy_gb", peaks.one_copy / 1e9, "GB", n=NUM_RUNS),
        _row("peak_memory_two_copies_gb", peaks.two_copies / 1e9, "GB", n=NUM_RUNS),
        _row("peak_memory_backbone_weights_gb", peaks.weights / 1e9, "GB", n=1),
    ]


def _time_to_first_token(
    encoder: MemoryEncoder, question: Question, items: Sequence[KnowledgeItem]
) -> tuple[float, float]:
    """Seconds with the items as prompt tokens, and with their stored memory (encoding them is not counted)."""
    asked = (question.question, question.image, question.language)
    in_prompt, alone = encoder.prompts.conversation(*asked, items=items), encoder.prompts.conversation(*asked)
    stored = encoder.encode_batch(items).flatten(end_dim=1)
    nothing = stored[:0]
    text = _seconds(lambda: encoder.answer_batch([in_prompt], [nothing], max_new_tokens=1))
    memory = _seconds(lambda: encoder.answer_batch([alone], [stored], max_new_tokens=1))
    return text, memory


def _seconds(work: Callable[[], object]) -> float:
    """Median wall time, after one run that is not counted."""
    work()
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _row(measure: str, value: float, unit: str, *, n: int = REPEATS, recipe: str = RECIPE) -> Measured:
    return Measured(
        measure=measure,
        recipe=recipe,
        value=round(value, 2),
        unit=unit,
        n=n,
        command=COMMAND,
        machine=f"{describe_machine()}, 1 torch thread",
    )


if __name__ == "__main__":
    main()
