"""A training of three weights as a stage of the small run: in this process, with a checkpoint after every step."""

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from comem_core.training import loop
from comem_core.training.loop import Objective
from comem_core.training.recipe import OptimizerRecipe
from tasks.engine.context import RunRef
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.engine.training import on_ray_train, train_worker
from tests.tasks.engine.small_run import SmallKey

TRAINING = Stage(name="training", version="1", table="training_step")
WEIGHTS = "weights.bin"
OPTIMIZER = OptimizerRecipe(num_steps=4, batch_size=2, learning_rate=0.1)


def train_here() -> None:
    """Let trainings of this process stay in it: what Ray's actor would call is called here."""

    def call_here(make_worker: Callable[[], Callable[[Any], Any]], units: Mapping[str, Any], **_: Any) -> None:
        worker = make_worker()
        for unit in units.values():
            worker(unit)

    on_ray_train.map_shards = call_here
    on_ray_train.rest_workers = lambda context, forget: None
    train_worker.SAVE_EVERY_SECONDS, train_worker.SAVE_SHARE = 0.0, float("inf")
    train_worker.TELL_EVERY_SECONDS = 1e9  # the first and the last step are told
    loop.time = SimpleNamespace(perf_counter=count().__next__)  # each step takes a second, so that rows are equal


def make_training(run: RunRef, drafts: Reference, done: Path) -> Reference:
    """Train as the encoder is trained, and note each step that is made."""

    def make(artefact: Partial) -> None:
        on_ray_train.train_on_ray(run, artefact, OPTIMIZER, lambda rank, num_ranks: _build(done), files=(WEIGHTS,))

    return run_stage(run, TRAINING, SmallKey("training"), {"drafts": drafts}, make)


def _build(done: Path) -> train_worker.Trainee:
    objective = Towards(done)

    def save(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(objective.weights.detach().numpy().tobytes())

    return train_worker.Trainee(objective=objective, frozen=(), save=save)


class Towards(Objective):
    """Moves three weights towards a point that the step decides. The gradient is written down, because torch computes
    none in a fork of a process that has computed one."""

    def __init__(self, done: Path) -> None:
        self.done, self.weights = done, nn.Parameter(torch.zeros(3))

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return {"weights": self.weights}

    def accumulate_gradient(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        away = self.weights.detach() - torch.tensor([1.0, step, -step])
        self.weights.grad = away
        with self.done.open("a") as file:
            file.write(f"{name_step(step)}\n")
        return away.square().sum() / 2, {"samples": 2.0, "tokens": 2.0}


def name_step(step: int) -> str:
    """Name a step, counted from 0, as it is noted."""
    return f"step {step}"
