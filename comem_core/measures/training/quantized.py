"""Measures what a backbone in 8 or 4 bits costs in answers and time, on the shipped tiny model, and computes the 7B's.

`python -m comem_core.measures.training.quantized` asks countries' test questions with the shipped encoder on each
backbone, and with an encoder that was trained on it as the recipe says. It writes docs/results/training.json.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

import torch

from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.quantization import OFF, QUANTIZATIONS, Quantization
from comem_core.measures.countries.exam import CountriesExam, ItemsOf
from comem_core.measures.countries_vqa import AnswerMarker
from comem_core.measures.gpu.workload import WORKLOADS
from comem_core.measures.results import Measured
from comem_core.measures.tables import record_rows
from comem_core.measures.training.estimates import SHAPE, estimate_7b
from comem_core.memory.checkpoint import copy_weights, read_weights
from comem_core.memory.description import WEIGHTS, find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.worlds.countries.world import load_seed_questions

TOPIC, RECIPE, COMMAND = "training", "tiny_cpu", "python -m comem_core.measures.training.quantized"
SHIPPED_ENCODER, START, BASE = "tiny-encoder", "tiny-encoder-start", "tiny"
TOKENS = (8192, 2048)
NUM_QUESTIONS, NUM_SAMPLES, NUM_REPEATS = 400, 800, 7


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask with quantised backbones, train on them, print the scores, and write docs/results/training.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("--questions", type=int, default=NUM_QUESTIONS, help="ask the first N (default %(default)s)")
    parser.add_argument("--steps", type=int, help="train only so many steps; without it, as many as the recipe")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    rows = []
    parts = (measure_answers(chosen.questions, steps=chosen.steps), measure_seconds(), compute_sizes())
    for row in (each for part in parts for each in part):
        print(f"{row.measure:>48}  {row.value} {row.unit}", flush=True)
        rows.append(row)
    record_rows(TOPIC, rows)


def measure_answers(num_questions: int, *, steps: int | None = None) -> Iterator[Measured]:
    """Ask from text, from memories of the shipped encoder, and from those of an encoder trained on each backbone."""
    whole = load_backbone(BASE)
    exam, samples = CountriesExam.of(whole, num_questions=num_questions), make_samples(whole)
    marker, k3 = AnswerMarker(exam, COMMAND), partial(exam.choose_with_gold, k=3)
    for kind in QUANTIZATIONS:
        encoder = make_encoder(kind, SHIPPED_ENCODER)
        yield marker.score(f"em_text_k3/{kind}", [exam.ask_prompt(encoder, k3, label=kind)], seeds=(0,))
        yield _ask_memory(marker, encoder, k3, f"em_memory_k3_shipped_encoder/{kind}")
        encoder = train(kind, samples, steps=steps)
        yield _ask_memory(marker, encoder, k3, f"em_memory_k3_trained_encoder/{kind}")


def _ask_memory(marker: AnswerMarker, encoder: MemoryEncoder, items_of: ItemsOf, measure: str) -> Measured:
    exam = marker.exam
    memories = exam.encode_shown(encoder, items_of)
    return marker.score(measure, [exam.ask_memory(encoder, memories, items_of, label=measure)], seeds=(0,))


def make_samples(backbone: Backbone) -> list[TrainingSample]:
    """Make samples of the first seed questions, each with the answering item and two that are retrieved with it."""
    questions = load_seed_questions()[:NUM_SAMPLES]
    exam = CountriesExam.with_questions(backbone, questions)
    return [
        TrainingSample.of(each, [exam.items[item_id] for item_id in exam.choose_with_gold_anywhere(each, 3)])
        for each in questions
    ]


def make_encoder(kind: Quantization, weights: str) -> MemoryEncoder:
    """Make the recipe's encoder on a backbone, with the weights of a shipped one, which was trained on the whole one.

    A run refuses this; here it is what is measured.
    """
    encoder = MemoryEncoder(load_backbone(BASE, quantization=kind), _get_training().encoder)
    copy_weights(read_weights(find_encoder_folder(weights) / WEIGHTS), encoder.parameters())
    return encoder


def train(kind: Quantization, samples: Sequence[TrainingSample], *, steps: int | None = None) -> MemoryEncoder:
    """Train an encoder on a backbone, from the weights of the recipe's start."""
    recipe, encoder = _get_training(), make_encoder(kind, START)
    optimizer = replace(recipe.optimizer, num_steps=steps or recipe.optimizer.num_steps)
    objective = AnswerFromMemory(encoder, replace(recipe, optimizer=optimizer, distractor_share=0.0), samples)
    Training(objective, optimizer).run(
        lambda report: print(f"{kind}: step {report.step}, loss {report.loss:.3f}", flush=True)
    )
    encoder.set_trainable(False)
    return encoder


def measure_seconds() -> Iterator[Measured]:
    """Measure the processor time of a step on each kind of backbone in turn, as a share of that on the whole one."""
    recipe, samples = _get_training(), make_samples(load_backbone(BASE))[: 4 * NUM_REPEATS]
    objectives = {
        kind: AnswerFromMemory(make_encoder(kind, START), replace(recipe, distractor_share=0.0), samples)
        for kind in QUANTIZATIONS
    }
    seconds: dict[Quantization, list[float]] = {kind: [] for kind in objectives}
    for step in range(NUM_REPEATS):
        for kind, objective in objectives.items():
            batch = objective.batches[step]
            started = time.process_time()
            objective.accumulate_batch_gradient(batch)
            seconds[kind].append(time.process_time() - started)
    for kind in objectives:
        if kind != OFF:
            ratio = median(ours / whole for ours, whole in zip(seconds[kind], seconds[OFF], strict=True))
            yield Measured(
                measure=f"train_seconds_ratio_quantized/{kind}",
                recipe=RECIPE,
                value=round(ratio, 2),
                unit="quantised / whole",
                n=NUM_REPEATS,
                command=COMMAND,
            )


def compute_sizes() -> Iterator[Measured]:
    """Compute what the training of a 7B takes with each kind of backbone."""
    for kind in QUANTIZATIONS:
        for tokens in TOKENS:
            found = estimate_7b(tokens, kind)
            parts = {"total": found.total, "weights": found.weights}
            for name in parts if tokens == TOKENS[0] else ("total",):
                measure = f"train_memory_gb_{name}_{kind}" + (f"/{tokens}" if name == "total" else "")
                yield Measured(
                    measure=measure,
                    recipe=WORKLOADS[SHAPE].recipe,
                    value=round(parts[name] / 1e9, 2),
                    unit="GB, computed",
                    n=1,
                    command=COMMAND,
                )


def _get_training() -> TrainingRecipe:
    return find_recipe(RECIPE).training


if __name__ == "__main__":
    main()
