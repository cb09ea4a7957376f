"""Trains the memory encoder of `smol_cpu`. A run that was stopped resumes from its last saved state.

    python -m comem_core.pretraining.smol ~/smol-run

The folder holds what the Q-Former reads of the passages, for each stage its state (weights, optimizer, step), one line
per step, and a snapshot of the encoder after every `SNAPSHOT_EVERY` steps of answering, for the curve.
"""

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from comem_core.backbone.finding import SMOL
from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.memory.checkpoint import copy_weights, read_weights
from comem_core.memory.description import WEIGHTS
from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.naming import NamingAndAnswering
from comem_core.pretraining.naming_recipe import NamingRecipe, NamingStage
from comem_core.pretraining.stored_readings import make_readings
from comem_core.pretraining.tiny_base import save_state
from comem_core.training.loop import Training
from comem_core.training.reports import StepReport

READINGS, STATE, STEPS, SNAPSHOTS, FINISHED = "readings", "state.pt", "steps.jsonl", "snapshots", "encoder"
SAVE_EVERY, SNAPSHOT_EVERY = 20, 100


def train_smol_encoder(
    recipe: NamingRecipe,
    backbone: Backbone,
    folder: Path,
    *,
    until: int | None = None,
    on_step: Callable[[str, StepReport], None] = lambda stage, report: None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> MemoryEncoder:
    """Read the passages, and train stage after stage, up to step `until` of the last one (default: its end).

    What is in `folder` is not made again: shards of what was read, finished stages, and the last state of a stage.
    `on_step` gets the stage's name and a report of each step.

    Raises:
        ValueError: the folder holds a run of another recipe.
    """
    _claim_folder(folder, recipe)
    encoder = MemoryEncoder(backbone, recipe.encoder)
    shares = {name: getattr(recipe, name) for name in ("invented_share", "real_share", "product_share")}
    readings = make_readings(
        folder / READINGS, num_passages=recipe.num_passages, num_facts=recipe.num_facts, shares=shares, seed=recipe.seed
    )
    readings.write_missing(encoder, on_shard)
    for stage in recipe.stages:
        finished = folder / stage.name / FINISHED
        if finished.exists():
            encoder.start_from(finished)
            continue
        training = Training(NamingAndAnswering(encoder, recipe, stage, readings), stage.optimizer)
        is_last = stage is recipe.stages[-1]
        _run_stage(training, encoder, folder, stage, until=until if is_last else None, on_step=on_step)
        encoder.set_trainable(False)
        if training.done:
            encoder.save(finished)
    return encoder


def save_for_float32(trained: Path, recipe: NamingRecipe, backbone: Backbone, folder: Path) -> str:
    """Save an encoder that was trained beside a bfloat16 backbone for the float32 one, which all else loads; return its
    id. Its own weights are rounded to float16, so that the file is half as large."""
    encoder = MemoryEncoder(backbone, recipe.encoder)
    rounded = {name: weight.half() for name, weight in read_weights(trained / WEIGHTS).items()}
    copy_weights(rounded, encoder.parameters())
    encoder.save(folder, dtype=torch.float16)
    return encoder.encoder_id


def _run_stage(
    training: Training,
    encoder: MemoryEncoder,
    folder: Path,
    stage: NamingStage,
    *,
    until: int | None,
    on_step: Callable[[str, StepReport], None],
) -> None:
    state = folder / stage.name / STATE
    if state.exists():
        training.load(torch.load(state, weights_only=True))
    end = min(stage.optimizer.num_steps, until if until is not None else stage.optimizer.num_steps)

    def report(step: StepReport) -> None:
        with (folder / STEPS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"stage": stage.name, **asdict(step)}) + "\n")
        on_step(stage.name, step)

    while training.step < end:
        training.run(report, until=min(end, (training.step // SAVE_EVERY + 1) * SAVE_EVERY))
        save_state(training, state)
        if stage.num_questions and (training.step % SNAPSHOT_EVERY == 0 or training.step == end):
            encoder.save(folder / SNAPSHOTS / f"{training.step:06d}")


def _claim_folder(folder: Path, recipe: NamingRecipe) -> None:
    """Write the recipe into the folder. Raises ValueError if the folder holds a run of another recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    path, stated = folder / "recipe.json", json.dumps(asdict(recipe), indent=2) + "\n"
    if not path.exists():
        path.write_text(stated, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != stated:
        raise ValueError(f"{folder} holds a run of another recipe (see {path}); give another folder")


def main(arguments: Sequence[str]) -> None:
    """Train, and print every tenth step."""
    parser = ArgumentParser(prog="python -m comem_core.pretraining.smol", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run; a run that is there is resumed")
    parser.add_argument("--until", type=int, help="stop after this step of the last stage (default: its end)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores to use (default: all)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="bfloat16",
        help="of the frozen model (default: bfloat16; float32 is quicker without AVX512-BF16 or AMX)",
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    recipe = NamingRecipe()
    lengths = {stage.name: stage.optimizer.num_steps for stage in recipe.stages}

    def on_shard(done: int, total: int) -> None:
        print(f"read {done} of {total} passages", flush=True)

    def on_step(stage: str, report: StepReport) -> None:
        if report.step % 10 == 0:
            measures = ", ".join(f"{name} {value:.3f}" for name, value in report.measures.items())
            print(f"{stage}: step {report.step} of {lengths[stage]}, {report.seconds:.1f} s, {measures}", flush=True)

    backbone = load_backbone(SMOL, dtype=getattr(torch, options.dtype))
    train_smol_encoder(recipe, backbone, options.folder, until=options.until, on_step=on_step, on_shard=on_shard)
    last = options.folder / recipe.stages[-1].name / FINISHED
    if last.exists():
        made = save_for_float32(last, recipe, load_backbone(SMOL), options.folder / FINISHED)
        print(f"wrote {options.folder / FINISHED}: encoder {made}")


if __name__ == "__main__":
    main(sys.argv[1:])
