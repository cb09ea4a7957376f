"""`python -m comem_core.measures.countries_vqa`: what memory carries, on countries that no training has seen.

`table` asks every test question under every condition; `items` shows more and more items; `variants` compares encoders
that were trained otherwise. Rows go to `docs/results/countries_vqa.json`; the measures are strict exact match, in
percent, with 95 % intervals clustered by country. Several encoders of several seeds are averaged question by question.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from comem_core.backbone.loading import load_backbone
from comem_core.evaluation.statistics import score_interval
from comem_core.measures.countries_exam import Answers, Exam, encode_all
from comem_core.measures.results import Measured, write_results
from comem_core.memory.checkpoint import encoder_folder, read_description
from comem_core.memory.encoder import MemoryEncoder

TOPIC, RECIPE, BASE = "countries_vqa", "tiny_cpu", "tiny"
DEPTHS = (1, 2, 3, 5, 8, 10, 15, 20)
COMMAND = "python -m comem_core.measures.countries_vqa"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one thing, print it, and put its rows in place of the earlier ones."""
    chosen = _parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    rows = list(chosen.measure(chosen))
    for row in rows:
        print(f"{row.measure:>34}  {row.value:6.2f}  ({row.low} to {row.high})  n {row.n}")
    measured = {row.measure for row in rows}
    print(f"written: {write_results(TOPIC, rows, replaces=lambda measure: measure in measured)}")


def measure_table(chosen: argparse.Namespace) -> Iterator[Measured]:
    """The headline: every condition, for all questions and by language and kind of fact."""
    asked: dict[str, list[Answers]] = {}
    exam = Exam.of(load_backbone(BASE), part=chosen.part, num_questions=chosen.questions)
    for folder in chosen.encoders:
        encoder = _encoder(folder)
        for name, answers in _conditions(exam, encoder, prompts_too="em_none" not in asked):
            asked.setdefault(name, []).append(answers)
    row = _rows_for(exam, chosen, seeds=_seeds(chosen.encoders))
    for name, answers in asked.items():
        yield row(name, answers)
        if name in ("em_text_gold", "em_text_k3", "em_memory_gold", "em_memory_k3"):
            for kind in ("language", "attribute"):
                for value in sorted({getattr(question, kind) for question in exam.questions}):
                    of_it = np.array([getattr(question, kind) == value for question in exam.questions])
                    yield row(f"{name}/{value}", answers, of_it)
    tokens = float(np.mean([each.prompt_tokens for each in asked["em_text_k3"]]))
    yield _plain("prompt_tokens_text_k3", tokens, "tokens", chosen, n=len(exam.questions))
    vectors = 3 * read_description(encoder_folder(chosen.encoders[0])).recipe["num_vectors"]
    yield _plain("memory_vectors_k3", vectors, "vectors", chosen, n=len(exam.questions))


def _conditions(exam: Exam, encoder: MemoryEncoder, *, prompts_too: bool) -> Iterator[tuple[str, Answers]]:
    """Every condition; what stands in the prompt does not depend on the encoder and is asked once."""
    memories = encode_all(encoder, {**exam.items, **exam.foreign})
    shown: Mapping[str, Callable[[Any], Sequence[str]]] = {
        "gold": lambda q: [q.gold_item_id],
        "k3": partial(exam.with_gold, k=3),
        "k3_any_order": partial(exam.with_gold_anywhere, k=3),
        "k3_drawn": partial(exam.among_others, k=3),
        "k3_as_retrieved": lambda q: exam.retrieved[q.question_id][:3],
    }
    if prompts_too:
        yield "em_none", exam.ask_prompt(encoder, lambda q: (), label="none")
        for name, items_of in shown.items():
            yield f"em_text_{name}", exam.ask_prompt(encoder, items_of, label=f"text {name}")
    for name, items_of in shown.items():
        yield f"em_memory_{name}", exam.ask_memory(encoder, memories, items_of, label=f"memory {name}")
    for control in ("shuffled", "foreign"):
        items_of = partial(exam.of_control, control, k=3)
        yield f"em_{control}", exam.ask_memory(encoder, memories, items_of, label=control)
    yield "em_empty", exam.ask_empty(encoder, 3, label="empty")


def measure_items(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Text and memory with 1 to 20 items, the gold one among them."""
    encoder = _encoder(chosen.encoders[0])
    exam = Exam.of(encoder.backbone, part=chosen.part, num_questions=chosen.questions)
    memories, row = encode_all(encoder, exam.items), _rows_for(exam, chosen, seeds=_seeds(chosen.encoders[:1]))
    for k in DEPTHS:
        items_of = partial(exam.with_gold, k=k)
        in_prompt = exam.ask_prompt(encoder, items_of, label=f"text, {k} items")
        yield row(f"em_text_items_{k}", [in_prompt])
        yield row(f"em_memory_items_{k}", [exam.ask_memory(encoder, memories, items_of, label=f"memory, {k} items")])
        yield _plain(f"prompt_tokens_items_{k}", in_prompt.prompt_tokens, "tokens", chosen, n=len(exam.questions))


def measure_variants(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Memory of the gold item and of three, for encoders named NAME=FOLDER."""
    exam = Exam.of(load_backbone(BASE), part=chosen.part, num_questions=chosen.questions)
    for variant in chosen.encoders:
        name, _, folder = variant.partition("=")
        encoder = _encoder(folder)
        memories, row = encode_all(encoder, exam.items), _rows_for(exam, chosen, seeds=_seeds([folder]))
        for depth, k in (("gold", 1), ("k3", 3)):
            items_of = partial(exam.with_gold, k=k)
            yield row(
                f"em_memory_{depth}_{name}",
                [exam.ask_memory(encoder, memories, items_of, label=f"{name}, {depth}")],
            )


def _rows_for(exam: Exam, chosen: argparse.Namespace, *, seeds: Sequence[int]) -> Callable[..., Measured]:
    """A function from a measure's name and its answers (one an encoder) to its row, for some or all questions."""

    def row(measure: str, answers: Sequence[Answers], of_it: np.ndarray | None = None) -> Measured:
        mean_Q = np.mean([each.right_Q for each in answers], axis=0)
        of_it = np.ones(len(mean_Q), dtype=bool) if of_it is None else of_it
        countries = [question.entity_id or "" for question in exam.questions]
        found = score_interval(mean_Q[of_it], [each for each, take in zip(countries, of_it, strict=True) if take])
        low, high = (None if end is None else round(100 * end, 2) for end in (found.low, found.high))
        return Measured(
            measure=measure,
            recipe=RECIPE,
            value=round(100 * found.value, 2),
            low=low,
            high=high,
            unit="%",
            n=found.n,
            seeds=seeds if len(answers) == len(seeds) else [0],
            command=_command(chosen),
        )

    return row


def _plain(measure: str, value: float, unit: str, chosen: argparse.Namespace, *, n: int) -> Measured:
    return Measured(
        measure=measure, recipe=RECIPE, value=round(value, 1), unit=unit, n=n, seeds=[0], command=_command(chosen)
    )


def _command(chosen: argparse.Namespace) -> str:
    return f"{COMMAND} {chosen.name}"


def _encoder(folder: str) -> MemoryEncoder:
    return MemoryEncoder.load(encoder_folder(folder), load_backbone(BASE))


def _seeds(folders: Sequence[str]) -> list[int]:
    return [read_description(encoder_folder(folder)).recipe["seed"] for folder in folders]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, measure in (("table", measure_table), ("items", measure_items), ("variants", measure_variants)):
        command = commands.add_parser(name, help=measure.__doc__)
        command.add_argument("encoders", nargs="*", default=["tiny-encoder"], help="shipped names or folders")
        command.add_argument("--part", choices=("dev", "test"), default="test", help="of countries-vqa (default test)")
        command.add_argument("--questions", type=int, help="only the first so many, a balanced choice (default all)")
        command.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
        command.set_defaults(measure=measure, name=name)
    return parser


if __name__ == "__main__":
    main()
