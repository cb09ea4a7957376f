"""Times training steps in whatever checkout runs this file, so that two commits can be compared on the same samples.

`python commits.py tiny` (or `117m`) prints the seconds of the steps as JSON. It uses only what earlier commits have.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from comem_core.backbone.loading import load_backbone
from comem_core.measures.peak_memory import NUM_HEADS, save_large_model
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.recipes import find_recipe
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

TINY, LARGE = "tiny", "117m"
NUM_STEPS = {TINY: 9, LARGE: 3}  # of which the first is not measured
BATCH_SIZE, NUM_ITEMS, NUM_VECTORS = 16, 3, 8


def main(model: str) -> None:
    """Train some steps on a model with one thread, and print the seconds of each but the first."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if model == LARGE:
            save_large_model(Path(folder))
        recipe = find_recipe("tiny_cpu").training.encoder if model == TINY else EncoderRecipe(num_heads=NUM_HEADS)
        recipe = replace(recipe, num_vectors=NUM_VECTORS)
        print(json.dumps(train(folder if model == LARGE else TINY, recipe, num_steps=NUM_STEPS[model])))


def train(model: str, recipe: EncoderRecipe, *, num_steps: int) -> Sequence[float]:
    """Train on questions about countries, each with the item that answers and two others; return seconds of steps."""
    items = {item.item_id: item for item in load_knowledge_items()}
    samples = []
    for question in load_benchmark_questions("dev")[: num_steps * BATCH_SIZE]:
        gold = items[question.gold_item_id or ""]
        others = [item for item in items.values() if item.language == gold.language and item is not gold]
        shown = [gold, *Random(question.question_id).sample(others, NUM_ITEMS - 1)]
        samples.append(
            TrainingSample(
                sample_id=question.question_id,
                question=question.question,
                image=question.image,
                language=question.language,
                answer=question.answers[0],
                items=tuple(shown),
            )
        )
    optimizer = OptimizerRecipe(num_steps=num_steps, batch_size=BATCH_SIZE)
    training = TrainingRecipe(encoder=recipe, optimizer=optimizer, items_per_sample=NUM_ITEMS)
    objective = AnswerFromMemory(MemoryEncoder(load_backbone(model), recipe), training, samples)
    seconds: list[float] = []
    Training(objective, optimizer).run(lambda report: seconds.append(report.seconds))
    return seconds[1:]


if __name__ == "__main__":
    main(sys.argv[1])
