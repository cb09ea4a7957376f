"""Trains the memory encoder of `smol_cpu`. A run that was stopped resumes from its last saved state.

    python -m comem_core.pretraining.smol ~/smol-run

The folder holds what the Q-Former reads of the passages, for each stage its state (weights, optimizer, step), one line
for each shard that was read and for each step, and a snapshot of the encoder after every `SNAPSHOT_EVERY` steps of
answering, for the curve.
"""

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from comem_core.backbone.finding import SMOL, hash_backbone
from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.measures.provenance import describe_machine, find_commit
from comem_core.memory.checkpoint import copy_weights, read_weights
from comem_core.memory.description import DESCRIPTION, WEIGHTS, find_encoder_folder, read_description
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe, list_other_shape, read_recipe
from comem_core.pretraining.naming import NamingAndAnswering
from comem_core.pretraining.naming_recipe import READING, NamingRecipe, NamingStage
from comem_core.pretraining.stored_readings import SHARD, StoredReadings
from comem_core.pretraining.tiny_base import save_state
from comem_core.pretraining.trained_on import RECORD, list_smol
from comem_core.training.loop import Training
from comem_core.training.reports import StepReport

COMMAND = "python -m comem_core.pretraining.smol"
READINGS, STATE, STEPS, SNAPSHOTS, FINISHED = "readings", "state.pt", "steps.jsonl", "snapshots", "encoder"
SAVE_EVERY, SNAPSHOT_EVERY = 20, 100


def train_smol_encoder(
    recipe: NamingRecipe,
    backbone: Backbone,
    folder: Path,
    *,
    start: Path | None = None,
    until: int | None = None,
    on_step: Callable[[str, StepReport], None] = lambda stage, report: None,
    on_shard: Callable[[int, int], None] = lambda done, total: None,
) -> MemoryEncoder:
    """Read the passages, and train stage after stage, up to step `until` of the last one (default: its end), from the
    weights of the encoder in `start` or from random ones.

    What is in `folder` is not made again: shards of what was read, finished stages, and the last state of a stage.
    `on_step` gets the stage's name and a report of each step.

    Raises:
        ValueError: the folder holds a run of another recipe.
    """
    _claim_folder(folder, recipe)
    encoder = MemoryEncoder(backbone, recipe.encoder)
    if start:
        copy_weights(read_weights(start / WEIGHTS), encoder.parameters())
    readings = StoredReadings(folder / READINGS, recipe)

    def report(done: int, total: int, seconds: float) -> None:
        if seconds:
            step = -(-done // SHARD)
            line = {"stage": READING, "step": step, "samples": done - (step - 1) * SHARD, "seconds": seconds}
            _append_line(folder, line)
        on_shard(done, total)

    readings.write_missing(encoder, report)
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


def save_for_float32(trained: Path, recipe: NamingRecipe, backbone: Backbone, folder: Path) -> MemoryEncoder:
    """Save an encoder that was trained beside a bfloat16 backbone for the float32 one, which all else loads, and return
    it. Its own weights are rounded to float16, so that the file is half as large."""
    encoder = MemoryEncoder(backbone, recipe.encoder)
    rounded = {name: weight.half() for name, weight in read_weights(trained / WEIGHTS).items()}
    copy_weights(rounded, encoder.parameters())
    encoder.save(folder, dtype=torch.float16)
    return encoder


def count_samples_seen(run: Path) -> dict[int, int]:
    """Return how many passages the reader had seen after each step of answering; of a repeated step the last counts."""
    rows = map(json.loads, (run / STEPS).read_text(encoding="utf-8").splitlines())
    steps = {row["step"]: row["samples"] for row in rows if "answer_loss" in row.get("measures", ())}
    seen, total = {}, 0
    for step in sorted(steps):
        total += steps[step]
        seen[step] = total
    return seen


def write_record(run: Path, recipe: NamingRecipe, encoder: MemoryEncoder, *, made_by: str) -> None:
    """Write beside the finished encoder of a run how it was made, and the list of what it was trained on."""
    lines = [json.loads(line) for line in (run / STEPS).read_text(encoding="utf-8").splitlines()]
    seconds: dict[str, float] = defaultdict(float)
    for line in lines:
        seconds[line["stage"]] += line["seconds"]
    facts = {
        "made_by": made_by,
        "inputs": {"start": recipe.start} if recipe.start else {},
        "encoder_id": encoder.encoder_id,
        "recipe": asdict(recipe),
        "seconds": {stage: round(spent) for stage, spent in seconds.items()},
        "machine": describe_machine(),
        "commit": find_commit(),
    }
    (run / FINISHED / RECORD).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    list_smol(run / FINISHED, recipe)


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
        _append_line(folder, {"stage": stage.name, **asdict(step)})
        on_step(stage.name, step)

    while training.step < end:
        training.run(report, until=min(end, (training.step // SAVE_EVERY + 1) * SAVE_EVERY))
        save_state(training, state)
        if stage.num_questions and (training.step % SNAPSHOT_EVERY == 0 or training.step == end):
            encoder.save(folder / SNAPSHOTS / f"{training.step:06d}")


def _append_line(folder: Path, line: dict[str, Any]) -> None:
    with (folder / STEPS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def _claim_folder(folder: Path, recipe: NamingRecipe) -> None:
    """Write the recipe into the folder. Raises ValueError if the folder holds a run of another recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    path, stated = folder / "recipe.json", json.dumps(asdict(recipe), indent=2) + "\n"
    if not path.exists():
        path.write_text(stated, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != stated:
        raise ValueError(f"{folder} holds a run of another recipe (see {path}); give another folder")


def _read_count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"found {text!r}; expected a number of at least 1")
    return int(text)


def _choose_recipe(options: Namespace) -> NamingRecipe:
    """Return the shipped encoder's recipe with what the options change."""
    recipe = NamingRecipe(names_commas=not options.without_commas, seed=options.seed)
    if options.start and options.naming_steps:
        raise ValueError("--start goes on with answering: its encoder names already; leave --naming-steps out")
    encoder = replace(recipe.encoder, seed=options.seed, num_vectors=options.vectors or recipe.encoder.num_vectors)
    lengths = (options.naming_steps, options.answering_steps)
    stages = tuple(
        replace(stage, optimizer=replace(stage.optimizer, num_steps=length or stage.optimizer.num_steps))
        for stage, length in zip(recipe.stages, lengths, strict=True)
    )
    if options.start:
        _refuse_other_shape(options.start, encoder)
        recipe, stages = replace(recipe, start=hash_backbone(options.start)), stages[1:]
    return replace(
        recipe,
        encoder=encoder,
        stages=stages,
        num_passages=options.passages or recipe.num_passages,
        prose_share=options.prose,
        unstated_share=options.unstated,
    )


def _refuse_other_shape(folder: Path, wanted: EncoderRecipe) -> None:
    made_for = read_description(folder)
    other = list_other_shape(read_recipe(made_for.recipe, where=str(folder / DESCRIPTION)), wanted)
    if made_for.backbone != SMOL:
        other.append(("backbone", made_for.backbone, SMOL))
    if said := ", ".join(f"{name} {has} (wanted: {wants})" for name, has, wants in other):
        raise ValueError(f"the encoder in {folder} cannot be the start: it has {said}")


def _choose_dtype() -> str:
    """Choose what is quicker: a processor without instructions for bfloat16 takes twice as long with it."""
    has = torch.cpu.get_capabilities()
    return "bfloat16" if any(has.get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")) else "float32"


def _find_start(name: str) -> Path:
    try:
        return find_encoder_folder(name)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def main(arguments: Sequence[str]) -> None:
    """Train, and print every tenth step."""
    parser = ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the run; a run that is there is resumed")
    parser.add_argument("--until", type=int, help="stop after this step of the last stage (default: its end)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores to use (default: all)")
    known = "of the frozen model (default: bfloat16 where the processor computes in it, else float32)"
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help=known)
    changed = parser.add_argument_group("another encoder", "each is by default as in the shipped encoder's recipe")
    changed.add_argument("--vectors", type=_read_count, help="vectors of an item")
    changed.add_argument("--without-commas", action="store_true", help="no vector names the comma after a value")
    changed.add_argument(
        "--start",
        type=_find_start,
        metavar="ENCODER",
        help="go on from this encoder (a folder, or the name of one that ships) with the last stage alone",
    )
    changed.add_argument("--passages", type=_read_count, help="passages that are drawn and read before the training")
    for option, default, what in (
        ("--prose", NamingRecipe.prose_share, "of the invented passages: those with several facts in a sentence"),
        ("--unstated", NamingRecipe.unstated_share, "of the questions about them: those whose answer is not stated"),
    ):
        changed.add_argument(
            option, type=float, default=default, metavar="SHARE", help=f"{what} (default: %(default)s)"
        )
    changed.add_argument("--naming-steps", type=_read_count, help="steps of the first stage")
    changed.add_argument("--answering-steps", type=_read_count, help="steps of the last stage")
    changed.add_argument("--seed", type=int, default=0, help="of passages, weights and batches (default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        recipe = _choose_recipe(options)
        _claim_folder(options.folder, recipe)
    except ValueError as error:
        parser.error(str(error))
    lengths = {stage.name: stage.optimizer.num_steps for stage in recipe.stages}

    def on_shard(done: int, total: int) -> None:
        print(f"read {done} of {total} passages", flush=True)

    def on_step(stage: str, report: StepReport) -> None:
        if report.step % 10 == 0:
            measures = ", ".join(f"{name} {value:.3f}" for name, value in report.measures.items())
            print(f"{stage}: step {report.step} of {lengths[stage]}, {report.seconds:.1f} s, {measures}", flush=True)

    dtype = options.dtype or _choose_dtype()
    print(f"computing in {dtype}", flush=True)
    backbone = load_backbone(SMOL, dtype=getattr(torch, dtype))
    train_smol_encoder(
        recipe,
        backbone,
        options.folder,
        start=options.start,
        until=options.until,
        on_step=on_step,
        on_shard=on_shard,
    )
    last = options.folder / recipe.stages[-1].name / FINISHED
    if last.exists():
        made = save_for_float32(last, recipe, load_backbone(SMOL), options.folder / FINISHED)
        given = [each for each in arguments if each != str(options.folder)]
        given += [] if options.dtype else ["--dtype", dtype]
        write_record(options.folder, recipe, made, made_by=" ".join([COMMAND, "FOLDER", *given]))
        print(f"wrote {options.folder / FINISHED}: encoder {made.encoder_id}")


if __name__ == "__main__":
    main(sys.argv[1:])
