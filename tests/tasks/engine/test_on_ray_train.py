"""Training on Ray Train, of something small: its steps and files are an artefact, and workers that were up stay up."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from comem_core.recipes import find_recipe
from comem_core.training.loop import OptimizerRecipe
from tasks.engine.context import Context
from tasks.engine.on_ray import map_shards
from tasks.engine.on_ray_train import STEPS, Trainee, train_on_ray
from tasks.engine.partial import Partial
from tasks.engine.workers import Workers
from tasks.run import NO_BACKBONE, Run


@pytest.mark.usefixtures("small_ray")
def test_something_small_is_trained_beside_workers_that_stay(context: Context, tmp_path: Path) -> None:
    def build(rank: int, num_ranks: int) -> Trainee:
        weights = torch.nn.Parameter(torch.ones(2))

        class Squares:
            def trainable(self):
                return {"weights": weights}

            def loss(self, step: int):
                return (weights**2).sum(), {"samples": 1.0, "tokens": 2.0}

        return Trainee(objective=Squares(), frozen=(), save=lambda folder: torch.save(weights.data, folder / "w.pt"))

    def make_worker():
        return lambda name: os.getpid()

    one = Workers(num_actors=1)
    before = map_shards(make_worker, {"a": 0}, workers=one)
    run = Run(run_id="r", recipe_name="t", context=context, recipe=find_recipe("tiny_cpu"), backbone=NO_BACKBONE)
    folder = tmp_path / "encoder.partial"
    folder.mkdir()
    optimizer = OptimizerRecipe(num_steps=4, batch_size=1, learning_rate=0.1)
    train_on_ray(run, Partial(folder), optimizer, build, files=("w.pt",))
    assert sorted(path.name for path in folder.iterdir()) == [f"{STEPS}.parquet", "w.pt"]
    losses = pq.read_table(folder / f"{STEPS}.parquet")["loss"].to_pylist()
    assert len(losses) == 4 and losses == sorted(losses, reverse=True)
    assert torch.load(folder / "w.pt", weights_only=True).max() < 1
    assert map_shards(make_worker, {"a": 0}, workers=one) == before
