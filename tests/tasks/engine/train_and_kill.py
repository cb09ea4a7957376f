"""A training by two workers in which one process is killed: `python train_and_kill.py FOLDER WHAT`.

WHAT is nothing, worker, controller, driver or node; it is killed after two checkpoints. Each worker notes its process,
steps and samples in FOLDER. The run joins the cluster of RAY_ADDRESS, if there is one, and at its end notes how many
CPUs are free.
"""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import ray
import torch

from comem_core.recipes import find_recipe
from comem_core.training.loop import LossObjective
from comem_core.training.recipe import OptimizerRecipe
from tasks.engine.context import Context
from tasks.engine.on_ray import join_ray
from tasks.engine.partial import Partial
from tasks.engine.training.on_ray_train import Build, train_on_ray
from tasks.run import Run
from tasks.sources import NO_BACKBONE

NUM_STEPS, KILLED_AT = 20, 6  # or later, when there are two checkpoints


def make_build(root: Path, what: str) -> Build:
    """Return the training of a thousand weights; what it needs is nested, because workers do not see this module."""
    driver, drivers_node = os.getpid(), ray.get_runtime_context().get_node_id()

    def kill() -> None:
        if what in ("driver", "worker"):
            (root / "killed").touch()
            os.kill(driver if what == "driver" else os.getpid(), signal.SIGKILL)
        elif what == "controller":
            of_this_ray = psutil.Process(os.getppid()).children()  # the raylet's, on the driver's node
            for each in of_this_ray if ray.get_runtime_context().get_node_id() == drivers_node else ():
                if "TrainController" in " ".join(each.cmdline()):
                    (root / "killed").touch()
                    each.kill()
        elif ray.get_runtime_context().get_node_id() != drivers_node:
            raylet = psutil.Process(os.getppid())
            (root / "killed").touch()
            for each in [raylet, *raylet.children(recursive=True)]:
                each.kill()

    def build(rank: int, num_ranks: int):
        from tasks.engine.training import train_worker

        train_worker.SAVE_EVERY_SECONDS, train_worker.SAVE_SHARE = 0.5, 1.0
        torch.manual_seed(0)
        weights = torch.nn.Parameter(torch.randn(1000))

        class Small(LossObjective):
            def trainable(self):
                return {"weights": weights}

            def loss(self, step: int):
                time.sleep(0.3)
                sample = torch.randn(num_ranks, 1000)[rank]  # drawn from the seed of the step
                with (root / f"steps-{rank}.jsonl").open("a") as file:
                    file.write(f"{json.dumps([os.getpid(), step, sample[0].item()])}\n")
                has_two = len(list(root.glob("encoder.partial/.checkpoint-*.pt"))) == 2
                if step >= KILLED_AT - 1 and has_two and what != "nothing" and not (root / "killed").exists():
                    kill()
                return ((weights * sample - rank) ** 2).sum() / num_ranks, {"samples": 1.0, "tokens": 2.0}

        return train_worker.Trainee(
            objective=Small(), frozen=(), save=lambda folder: torch.save(weights.data, folder / "w.pt")
        )

    return build


def count_free_cpus(expected: float) -> float:
    """Return the CPUs that are free as soon as they are as many as expected, or after half a minute."""
    ended_by = time.monotonic() + 30
    while (free := ray.available_resources().get("CPU", 0)) != expected and time.monotonic() < ended_by:
        time.sleep(0.5)
    return free


def main(root: Path, what: str) -> None:
    context = Context.from_environment()
    run = Run(run_id="r", recipe_name="t", context=context, recipe=find_recipe("tiny_cpu"), backbone=NO_BACKBONE)
    folder = root / "encoder.partial"
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = OptimizerRecipe(num_steps=NUM_STEPS, batch_size=2, learning_rate=0.1)
    with join_ray(context):
        train_on_ray(run, Partial(folder), optimizer, make_build(root, what), files=("w.pt",))
        has = ray.cluster_resources()["CPU"]
        (root / "resources.json").write_text(json.dumps({"cpus": has, "free": count_free_cpus(has)}))


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(message)s")
    main(Path(sys.argv[1]), sys.argv[2])
