"""Measures options of training that the paper's recipe does not have, with several seeds each.

`python -m tasks.measures.options` trains, for each option and seed, an encoder on the samples of the newest encoder in
the store of the context (`COMEM_STORE`), otherwise as that one was trained, and asks it countries' test questions.
Encoders are kept in `.comem/options`, so the same command goes on. It writes docs/results/options.json.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from comem_core.backbone.finding import find_installed_folder
from comem_core.backbone.loading import load_backbone
from comem_core.measures.countries.exam import CountriesExam
from comem_core.measures.countries_vqa import AnswerMarker, list_choices
from comem_core.measures.results import Measured
from comem_core.measures.tables import record_rows
from comem_core.memory.description import DESCRIPTION, find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, TrainingRecipe
from comem_core.training.samples import TrainingSample
from tasks.engine.context import Context
from tasks.engine.store import Store
from tasks.training.encoder import ENCODER
from tasks.training.encoders import make_reference
from tasks.training.training_data import find_samples

TOPIC, RECIPE, COMMAND = "options", "tiny_cpu", "python -m tasks.measures.options"
NONE, NESTED = "none", "nested-lengths"
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    NONE: {},
    NESTED: {"nested_lengths": True},
    "half-distilled": {"distillation": 0.5},
}
SHORTENED = (NONE, NESTED)
LENGTHS = (4, 2)
CHOICES = ("gold", "k3", "k3_any_order", "k3_drawn")
SEEDS = (0, 1, 2)
NUM_QUESTIONS = 400


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and ask encoders with options of training, print the scores, and write docs/results/options.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("--only", choices=OPTIONS, action="append", help="measure only this option (several times)")
    parser.add_argument(
        "--questions", type=int, default=NUM_QUESTIONS, help="ask only the first N (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    context = Context.from_environment()
    samples = read_samples(Store.of(context))
    exam = CountriesExam.of(load_backbone("tiny"), num_questions=chosen.questions)
    for option in chosen.only or OPTIONS:
        rows = []
        for row in measure_option(option, samples, exam, context.root / TOPIC):
            print(f"{row.measure:>40}  {row.value:.1f} {row.unit}", flush=True)
            rows.append(row)
        record_rows(TOPIC, rows)


def read_samples(store: Store) -> Sequence[TrainingSample]:
    """Return the samples of the newest encoder in a store. Raises ValueError where it has none."""
    if not (records := store.list_records(ENCODER.name)):
        raise ValueError(f"no encoder was trained in {store.place}; run synth-and-train first (`make demo`)")
    return find_samples(store, make_reference(records[-1])).read()


def measure_option(
    option: str, samples: Sequence[TrainingSample], exam: CountriesExam, folder: Path
) -> Iterator[Measured]:
    """Train an option with each seed, and yield its scores: one item, and three in several orders."""
    encoders = [_load_or_train(option, seed, samples, folder) for seed in SEEDS]
    marker, whole = AnswerMarker(exam, COMMAND), encoders[0].recipe.num_vectors
    choices = {name: items_of for name, items_of in list_choices(exam).items() if name in CHOICES}
    memories = [exam.encode_shown(encoder, *choices.values()) for encoder in encoders]
    asked = [(name, whole, f"em_{name}/{option}") for name in choices]
    if option in SHORTENED:
        asked += [("gold", length, f"em_gold_{length}_vectors/{option}") for length in LENGTHS]
    for name, length, measure in asked:
        answers = [
            exam.ask_memory(
                encoder, {each: own[:length] for each, own in known.items()}, choices[name], label=f"{option} {name}"
            )
            for encoder, known in zip(encoders, memories, strict=True)
        ]
        yield marker.score(measure, answers, seeds=SEEDS)


def _load_or_train(option: str, seed: int, samples: Sequence[TrainingSample], folder: Path) -> MemoryEncoder:
    """Train an encoder from the recipe's start with an option and a seed, unless that was done before."""
    recipe = _make_recipe(option, seed)
    encoder = MemoryEncoder(load_backbone("tiny"), recipe.encoder)
    assert recipe.start is not None
    encoder.start_from(find_installed_folder(find_encoder_folder(recipe.start)))
    compute = ComputeOptions(parts=min(2, torch.get_num_threads()))
    training = Training(AnswerFromMemory(encoder, recipe, samples, compute=compute), recipe.optimizer)
    made_from = json.dumps([encoder.encoder_id, training.description], sort_keys=True)
    kept = folder / f"{option}-{seed}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}"
    if (kept / DESCRIPTION).exists():
        return MemoryEncoder.load(kept, load_backbone("tiny"))
    training.run(lambda report: print(f"{option}, seed {seed}: step {report.step}, loss {report.loss:.3f}", flush=True))
    encoder.set_trainable(False)
    encoder.save(kept)
    return encoder


def _make_recipe(option: str, seed: int) -> TrainingRecipe:
    recipe = find_recipe(RECIPE).training
    return replace(recipe, optimizer=replace(recipe.optimizer, seed=seed), **OPTIONS[option])


if __name__ == "__main__":
    main()
