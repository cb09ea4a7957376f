"""Trains the memory encoder of `smol_cpu`. A run that was stopped resumes from its last saved state.

    python -m comem_core.pretraining.smol ~/smol-run

The folder holds the state (weights, optimizer, step), one line per step, and a snapshot of the encoder after every
`SNAPSHOT_EVERY` steps, for the curve.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from comem_core.backbone.finding import SMOL
from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.naming import NamingAndAnswering
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.pretraining.tiny_base import save_state
from comem_core.training.loop import Training
from comem_core.training.reports import StepReport

STATE, STEPS, SNAPSHOTS, FINISHED = "state.pt", "steps.jsonl", "snapshots", "encoder"
SAVE_EVERY, SNAPSHOT_EVERY = 20, 60


def train_smol_encoder(
    recipe: NamingRecipe,
    backbone: Backbone,
    folder: Path,
    *,
    until: int | None = None,
    on_step: Callable[[StepReport], None] = lambda report: None,
) -> MemoryEncoder:
    """Train up to step `until` (default: the recipe's end), from the state in `folder` if there is one.

    Raises:
        ValueError: the folder holds a run of another recipe.
    """
    _claim_folder(folder, recipe)
    encoder = MemoryEncoder(backbone, recipe.encoder)
    training = Training(NamingAndAnswering(encoder, recipe), recipe.optimizer)
    if (folder / STATE).exists():
        training.load(torch.load(folder / STATE, weights_only=True))
    end = min(recipe.optimizer.num_steps, until if until is not None else recipe.optimizer.num_steps)

    def report(step: StepReport) -> None:
        with (folder / STEPS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(step)) + "\n")
        on_step(step)

    while training.step < end:
        training.run(report, until=min(end, (training.step // SAVE_EVERY + 1) * SAVE_EVERY))
        save_state(training, folder / STATE)
        if training.step % SNAPSHOT_EVERY == 0 or training.step == end:
            encoder.save(folder / SNAPSHOTS / f"{training.step:06d}")
    encoder.set_trainable(False)
    if training.done:
        encoder.save(folder / FINISHED)
    return encoder


def _claim_folder(folder: Path, recipe: NamingRecipe) -> None:
    """Write the recipe into the folder. Raises ValueError if the folder holds a run of another recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    path, stated = folder / "recipe.json", json.dumps(asdict(recipe), indent=2) + "\n"
    if not path.exists():
        path.write_text(stated, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != stated:
        raise ValueError(f"{folder} holds a run of another recipe (see {path}); give another folder")


def main(arguments: Sequence[str]) -> None:
    """Train on one core, and print each step."""
    parser = ArgumentParser(prog="python -m comem_core.pretraining.smol", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run; a run that is there is resumed")
    parser.add_argument("--until", type=int, help="stop after this step (default: the recipe's last)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    recipe = NamingRecipe()

    def on_step(report: StepReport) -> None:
        measures = ", ".join(f"{name} {value:.3f}" for name, value in report.measures.items())
        print(f"step {report.step} of {recipe.optimizer.num_steps}, {report.seconds:.1f} s, {measures}", flush=True)

    train_smol_encoder(recipe, load_backbone(SMOL), options.folder, until=options.until, on_step=on_step)


if __name__ == "__main__":
    main(sys.argv[1:])
