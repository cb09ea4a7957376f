"""`make bench`: how fast the shipped model encodes and answers on this machine, as ratios measured in one run.

Time to first token (TTFT) is the time of one forward pass over the prompt and the choice of one token, batch of one.
"""

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import recipe_named
from comem_core.synthesis.prompts import prompt_set
from comem_core.worlds.countries.world import benchmark_questions, knowledge_items

RESULTS = Path("docs/results/speed.json")
COMMAND = "make bench"
BATCH = 16
REPEATS = 15


def main() -> None:
    """Measure, print, and write `docs/results/speed.json`."""
    torch.set_num_threads(1)
    recipe = recipe_named("tiny_cpu")
    encoder = MemoryEncoder(load_backbone(recipe.backbone.name), recipe.training.encoder)
    items, question = list(knowledge_items()[:50]), benchmark_questions("dev")[0]
    rows = [_row("encode_items_per_s", BATCH / _seconds(lambda: encoder.encode(items[:BATCH])), "items/s")]
    for k in (3, 10, 50):
        text, memory = _time_to_first_token(encoder, question, items[:k])
        rows.append(_row(f"ttft_ratio_k{k}", text / memory, "text / memory"))
    for row in rows:
        print(f"{row['measure']:>22}  {row['value']:.2f} {row['unit']}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _time_to_first_token(encoder: MemoryEncoder, question: Question, items: list[KnowledgeItem]) -> tuple[float, float]:
    """Seconds with the items as prompt tokens, and with their stored memory (encoding them is not counted)."""
    prompts = prompt_set(encoder.recipe.prompts)
    asked = (question.question, question.image, question.language)
    in_prompt, alone = prompts.conversation(*asked, items=items), prompts.conversation(*asked)
    stored = encoder.encode(items).reshape(-1, encoder.backbone.width)
    nothing = stored[:0]
    text = _seconds(lambda: encoder.answer([in_prompt], [nothing], max_new_tokens=1))
    memory = _seconds(lambda: encoder.answer([alone], [stored], max_new_tokens=1))
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


def _row(measure: str, value: float, unit: str) -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "measure": measure,
        "recipe": "tiny_cpu",
        "value": round(value, 2),
        "low": None,
        "high": None,
        "unit": unit,
        "n": REPEATS,
        "seeds": [0],
        "command": COMMAND,
        "commit": commit or None,
        "machine": f"{platform.machine()}, 1 torch thread",
    }


if __name__ == "__main__":
    main()
