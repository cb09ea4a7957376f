"""Measures what Ray Train costs beside the bare loop: checkpoints, progress and rows of the steps included.

`python -m tasks.measures.ray_training WAY STEPS` trains one way, `ray` or `bare`, in its own process, and prints the
seconds from the first step to the last as JSON. Starting Ray, and loading the model, are not counted.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial as bind
from pathlib import Path

import torch
from torch import Tensor, nn

from comem_core.backbone.loading import load_backbone
from comem_core.measures.training.processes import run_elsewhere
from comem_core.measures.training.steps import make_samples
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.training.loop import Objective, Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from tasks.engine.context import Context, RunRef
from tasks.engine.on_ray import join_ray
from tasks.engine.partial import Partial
from tasks.engine.training.on_ray_train import train_on_ray
from tasks.engine.training.train_worker import Trainee
from tasks.training.encoder import make_compute_options

RAY, BARE, TIMES = "ray", "bare", "times.json"
NUM_STEPS, BATCH_SIZE, NUM_SAMPLES = 2000, 2, 64


class Clocked(Objective):
    """An objective that notes when its first and its last step began."""

    def __init__(self, objective: Objective):
        self.objective = objective
        self.began: list[float] = []

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.objective.trainable()

    def accumulate_gradient(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        self.began = [*self.began[:1], time.perf_counter()]
        return self.objective.accumulate_gradient(step)

    @property
    def seconds(self) -> float:
        return self.began[-1] - self.began[0]


def measure_ray(num_steps: int = NUM_STEPS) -> float:
    """Return the bare loop's seconds divided by Ray Train's, one after the other."""
    seconds = {}
    for way in (BARE, RAY):
        seconds[way] = run_elsewhere("tasks.measures.ray_training", way, str(num_steps))
        print(f"{way:>5}: {num_steps / seconds[way]:.2f} steps/s", flush=True)
    return seconds[BARE] / seconds[RAY]


def make_trainee(optimizer: OptimizerRecipe, rank: int, num_ranks: int) -> Trainee:
    """Load what is trained: the shipped model on questions with one item, so that a step is short."""
    recipe = TrainingRecipe(encoder=find_recipe("tiny_cpu").training.encoder, optimizer=optimizer, items_per_sample=1)
    encoder = MemoryEncoder(load_backbone("tiny"), recipe.encoder)
    compute = make_compute_options(Context.from_environment())
    objective = Clocked(AnswerFromMemory(encoder, recipe, make_samples(NUM_SAMPLES), compute=compute))

    def save(folder: Path) -> None:
        (folder / TIMES).write_text(json.dumps(objective.seconds))

    return Trainee(objective=objective, frozen=(encoder.backbone,), save=save)


def train_bare(optimizer: OptimizerRecipe) -> float:
    """Train without Ray, and return the seconds from the first step to the last."""
    torch.set_num_threads(os.cpu_count() or 1)  # as a lone worker does
    objective = make_trainee(optimizer, 0, 1).objective
    assert isinstance(objective, Clocked)
    Training(objective, optimizer).run(lambda report: None)
    return objective.seconds


def train_with_ray(optimizer: OptimizerRecipe, root: Path) -> float:
    """Train on a Ray of this machine, as a run does, and return the seconds from the first step to the last."""
    context = replace(Context.from_environment(), root=root, store=root / "store", num_actors=1)
    artefact = Partial(root / "artefact")
    artefact.folder.mkdir()
    run = RunRef(run_id="measured", recipe_name="tiny_cpu", context=context)
    with join_ray(context):
        train_on_ray(run, artefact, optimizer, bind(make_trainee, optimizer), files=(TIMES,))
    return json.loads((artefact.folder / TIMES).read_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=(RAY, BARE))
    parser.add_argument("steps", type=int)
    given = parser.parse_args()
    chosen = OptimizerRecipe(num_steps=given.steps, batch_size=BATCH_SIZE)
    if given.way == BARE:
        print(json.dumps(train_bare(chosen)))
    else:
        with tempfile.TemporaryDirectory(prefix="comem-bench-") as name:
            print(json.dumps(train_with_ray(chosen, Path(name))))
