"""`python -m comem_core.measures.countries_vqa`: how well memory works on the test questions of countries-vqa.

`table` asks every question under every condition; `items` shows more and more items; `finding` shows whether the right
one is found among them; `storage` stores memories in fewer bits; `variants` compares encoders. Rows go to
`docs/results/countries_vqa.json`. The measures are strict exact match, in percent, with 95 % intervals clustered by
country. Scores of several encoders, trained with several seeds, are averaged. `.../unseen_entity` is about countries
that no training has seen; the other questions are about new facts of known countries.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from comem_core.backbone.loading import load_backbone
from comem_core.evaluation.statistics import average_interval
from comem_core.measures.countries.exam import DEEPEST, Answers, CountriesExam, ItemsOf, round_memories
from comem_core.measures.provenance import shorten_folder
from comem_core.measures.results import Measured
from comem_core.measures.tables import describe_rows, record_rows
from comem_core.memory.description import find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder

TOPIC, RECIPE, BASE = "countries_vqa", "tiny_cpu", "tiny"
ENCODERS = ("tiny-encoder",)
BASE_SEEDS = (0,)  # of answers without memory, which do not depend on the encoder and its seed
DEPTHS = (1, 2, 3, 5, 8, 10, 15, 20)
FINDING = (1, 3, 10)
VARIANT_DEPTHS = ("gold", "k3", "k3_drawn")
IN_DETAIL = ("em_text_gold", "em_text_k3", "em_memory_gold", "em_memory_k3")
COMMAND = "python -m comem_core.measures.countries_vqa"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and replace the stored rows of the same measures."""
    chosen = _make_parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    rows = list(chosen.measure(chosen))
    print(*describe_rows(rows), sep="\n")
    record_rows(TOPIC, rows)


@dataclass(frozen=True)
class AnswerMarker:
    """Turns answers to an exam into rows. `command` measures them again."""

    exam: CountriesExam
    command: str

    def score(
        self, measure: str, answers: Sequence[Answers], *, seeds: Sequence[int], among_Q: np.ndarray | None = None
    ) -> Measured:
        """Return the share of right answers among all questions or `among_Q`; the mean of one `Answers` per encoder.

        The interval is for other questions, and another seed where there are several encoders.
        """
        right_RQ = np.array([each.right_Q for each in answers])
        among_Q = np.ones(right_RQ.shape[1], dtype=bool) if among_Q is None else among_Q
        countries_Q = np.array([question.entity_id for question in self.exam.questions])
        found = average_interval(right_RQ[:, among_Q], countries_Q[among_Q])
        low, high = (None if end is None else round(100 * end, 2) for end in (found.low, found.high))
        return replace(
            self.make_plain(measure, round(100 * found.value, 2), "%"),
            low=low,
            high=high,
            n=found.n,
            seeds=tuple(seeds),
        )

    def mark_in_detail(self, measure: str, answers: Sequence[Answers], *, seeds: Sequence[int]) -> Iterator[Measured]:
        """Yield the scores by language, kind of fact and split of the benchmark: `measure/en`, `measure/capital` ..."""
        questions = self.exam.questions
        for values_Q in (
            [q.language for q in questions],
            [q.attribute for q in questions],
            [q.split for q in questions],
        ):
            for value in sorted({str(value) for value in values_Q}):
                among_Q = np.array([each == value for each in values_Q])
                yield self.score(f"{measure}/{value}", answers, seeds=seeds, among_Q=among_Q)

    def make_plain(self, measure: str, value: float, unit: str) -> Measured:
        """Make a row for a number over all questions that needs no interval."""
        n = len(self.exam.questions)
        return Measured(measure=measure, recipe=RECIPE, value=value, unit=unit, n=n, command=self.command)


def measure_table(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Measure every condition, and the main ones also by language, kind of fact and split.

    `shuffled` is also measured apart for questions whose answer the other country's items state too (a region, say).
    """
    encoders, exam = _load_encoders_of_one_recipe(chosen.encoders), _open_exam(chosen)
    marking = AnswerMarker(exam, _write_command(chosen, chosen.encoders))
    in_prompt = {name: [answers] for name, answers in _ask_prompts(exam, encoders[0])}
    in_memory: dict[str, list[Answers]] = {}
    for encoder in encoders:
        for name, answers in _ask_memories(exam, encoder):
            in_memory.setdefault(name, []).append(answers)
    seeds_of_encoders = [encoder.recipe.seed for encoder in encoders]
    for asked, seeds in ((in_prompt, BASE_SEEDS), (in_memory, seeds_of_encoders)):
        for name, answers in asked.items():
            yield marking.score(name, answers, seeds=seeds)
            if name in IN_DETAIL:
                yield from marking.mark_in_detail(name, answers, seeds=seeds)
    stated_Q = np.array([exam.has_answer(q, exam.choose_for_control("shuffled", q, k=3)) for q in exam.questions])
    for name, among_Q in (("stated", stated_Q), ("unstated", ~stated_Q)):
        if among_Q.any():
            yield marking.score(f"em_none_{name}", in_prompt["em_none"], seeds=BASE_SEEDS, among_Q=among_Q)
            shuffled = in_memory["em_shuffled"]
            yield marking.score(f"em_shuffled_{name}", shuffled, seeds=seeds_of_encoders, among_Q=among_Q)
    [text_k3] = in_prompt["em_text_k3"]
    yield marking.make_plain("prompt_tokens_text_k3", round(text_k3.prompt_tokens, 1), "tokens")
    yield marking.make_plain("memory_vectors_k3", 3 * encoders[0].recipe.num_vectors, "vectors")


def list_choices(exam: CountriesExam) -> Mapping[str, ItemsOf]:
    """Return the choices of items that are shown both as text and as memory."""
    return {
        "gold": partial(exam.choose_with_gold, k=1),
        "k3": partial(exam.choose_with_gold, k=3),
        "k3_any_order": partial(exam.choose_with_gold_anywhere, k=3),
        "k3_drawn": partial(exam.choose_gold_among_others, k=3),
        "k3_as_retrieved": partial(exam.choose_as_retrieved, k=3),
    }


def _ask_prompts(exam: CountriesExam, encoder: MemoryEncoder) -> Iterator[tuple[str, Answers]]:
    """Ask without items, and with items in the prompt. Only the reader answers, so any encoder of the recipe works."""
    yield "em_none", exam.ask_prompt(encoder, lambda question: (), label="none")
    for name, items_of in list_choices(exam).items():
        yield f"em_text_{name}", exam.ask_prompt(encoder, items_of, label=f"text {name}")


def _ask_memories(exam: CountriesExam, encoder: MemoryEncoder) -> Iterator[tuple[str, Answers]]:
    """Ask with the same items as memory, and with the controls."""
    shown = {f"memory_{name}": items_of for name, items_of in list_choices(exam).items()}
    shown |= {control: partial(exam.choose_for_control, control, k=3) for control in ("shuffled", "foreign")}
    memories = exam.encode_shown(encoder, *shown.values())
    for name, items_of in shown.items():
        yield f"em_{name}", exam.ask_memory(encoder, memories, items_of, label=name)
    yield "em_empty", exam.ask_empty(encoder, 3, label="empty")


def measure_items(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Measure text and memory with 1 to 20 items, including the gold item."""
    encoders, exam = _load_encoders_of_one_recipe(chosen.encoders), _open_exam(chosen)
    marking = AnswerMarker(exam, _write_command(chosen, chosen.encoders))
    seeds = [encoder.recipe.seed for encoder in encoders]
    memories_of = [exam.encode_shown(encoder, partial(exam.choose_with_gold, k=max(DEPTHS))) for encoder in encoders]
    for k in DEPTHS:
        items_of = partial(exam.choose_with_gold, k=k)
        text = exam.ask_prompt(encoders[0], items_of, label=f"text, {k} items")
        memory = [
            exam.ask_memory(encoder, memories, items_of, label=f"memory, {k} items")
            for encoder, memories in zip(encoders, memories_of, strict=True)
        ]
        yield marking.score(f"em_text_items_{k}", [text], seeds=BASE_SEEDS)
        yield marking.score(f"em_memory_items_{k}", memory, seeds=seeds)
        yield marking.make_plain(f"prompt_tokens_items_{k}", round(text.prompt_tokens, 1), "tokens")


def measure_finding(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Measure whether the right item is found: by retrieval alone, and by the reader among the items that it is shown.

    `retrieved` shows what plain retrieval finds, `look_alikes` the gold item at a random place among the others.
    """
    encoders, exam = _load_encoders_of_one_recipe(chosen.encoders), _open_exam(chosen)
    marking = AnswerMarker(exam, _write_command(chosen, chosen.encoders))
    seeds = [encoder.recipe.seed for encoder in encoders]
    memories_of = [exam.encode_shown(each, partial(exam.choose_with_gold, k=DEEPEST)) for each in encoders]
    for k in FINDING:
        shown: dict[str, ItemsOf] = {"retrieved": partial(exam.choose_as_retrieved, k=k)}
        if k > 1:
            shown["look_alikes"] = partial(exam.choose_with_gold_anywhere, k=k)
        found_Q = np.array([float(q.gold_item_id in shown["retrieved"](q)) for q in exam.questions])
        yield marking.score(f"found_retrieved_{k}", [Answers(found_Q, 0.0)], seeds=BASE_SEEDS)
        for name, items_of in shown.items():
            text = exam.ask_prompt(encoders[0], items_of, label=f"text, {k} {name}")
            memory = [
                exam.ask_memory(encoder, memories, items_of, label=f"memory, {k} {name}")
                for encoder, memories in zip(encoders, memories_of, strict=True)
            ]
            yield marking.score(f"em_text_{name}_{k}", [text], seeds=BASE_SEEDS)
            yield marking.score(f"em_memory_{name}_{k}", memory, seeds=seeds)


def measure_storage(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Measure memory of 3 items whose vectors are stored in float32, bfloat16 and 8 bit."""
    encoders, exam = _load_encoders_of_one_recipe(chosen.encoders), _open_exam(chosen)
    marking, items_of = AnswerMarker(exam, _write_command(chosen, chosen.encoders)), partial(exam.choose_with_gold, k=3)
    memories_of = [exam.encode_shown(encoder, items_of) for encoder in encoders]
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("int8", torch.int8)):
        answers = [
            exam.ask_memory(encoder, round_memories(memories, dtype), items_of, label=name)
            for encoder, memories in zip(encoders, memories_of, strict=True)
        ]
        yield marking.score(f"em_memory_k3_{name}", answers, seeds=[encoder.recipe.seed for encoder in encoders])


def measure_variants(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Measure encoders given as NAME=FOLDER, with memory of the gold item, of 3 retrieved, and of gold and 2 drawn."""
    exam = _open_exam(chosen)
    for name, folder in chosen.encoders:
        encoder, marking = _load_encoder(folder), AnswerMarker(exam, _write_command(chosen, [folder], name=name))
        shown = {depth: items_of for depth, items_of in list_choices(exam).items() if depth in VARIANT_DEPTHS}
        memories = exam.encode_shown(encoder, *shown.values())
        for depth, items_of in shown.items():
            answers = exam.ask_memory(encoder, memories, items_of, label=f"{name}, {depth}")
            yield marking.score(f"em_memory_{depth}_{name}", [answers], seeds=[encoder.recipe.seed])


def _open_exam(chosen: argparse.Namespace) -> CountriesExam:
    return CountriesExam.of(load_backbone(BASE), part=chosen.part, num_questions=chosen.questions)


def _load_encoder(folder: str) -> MemoryEncoder:
    return MemoryEncoder.load(find_encoder_folder(folder), load_backbone(BASE))


def _load_encoders_of_one_recipe(folders: Sequence[str]) -> list[MemoryEncoder]:
    """Load encoders whose answers will be averaged. Raises ValueError where more than their seed differs."""
    encoders = [_load_encoder(folder) for folder in folders]
    for folder, encoder in zip(folders, encoders, strict=True):
        if replace(encoder.recipe, seed=0) != replace(encoders[0].recipe, seed=0):
            raise ValueError(
                f"the recipes of {folders[0]} and {folder} differ in more than the seed, so their mean is meaningless; "
                "compare them with `variants NAME=FOLDER ...`"
            )
    return encoders


def _write_command(chosen: argparse.Namespace, folders: Sequence[str], *, name: str = "") -> str:
    """Return the command that measures a row again.

    Of a folder outside the current one only the end is given, because its path differs between machines.
    """
    words = [COMMAND, chosen.name]
    if tuple(folders) != ENCODERS or name:
        words += [f"{name}={shorten_folder(folder)}" if name else shorten_folder(folder) for folder in folders]
    if chosen.part != "test":
        words += ["--part", chosen.part]
    if chosen.questions is not None:
        words += ["--questions", str(chosen.questions)]
    return " ".join(words)


def _parse_variant(given: str) -> tuple[str, str]:
    name, _, folder = given.partition("=")
    if not (name and folder):
        raise argparse.ArgumentTypeError(
            f"{given!r} is not a named variant; expected NAME=FOLDER, such as vectors_4=runs/4/encoder"
        )
    return name, folder


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, measure in (
        ("table", measure_table),
        ("items", measure_items),
        ("finding", measure_finding),
        ("storage", measure_storage),
        ("variants", measure_variants),
    ):
        command = commands.add_parser(name, help=measure.__doc__, description=measure.__doc__)
        if name == "variants":
            text = "the variant's name in its measures, and the folder of its encoder"
            command.add_argument("encoders", nargs="+", type=_parse_variant, metavar="NAME=FOLDER", help=text)
        else:
            text = "folders or names of shipped encoders; several that differ only in the seed are averaged"
            command.add_argument(
                "encoders", nargs="*", default=ENCODERS, metavar="FOLDER", help=f"{text} (default tiny-encoder)"
            )
        command.add_argument(
            "--part", choices=("dev", "test"), default="test", help="part of countries-vqa (default test)"
        )
        command.add_argument("--questions", type=int, help="ask only the first N questions, which are balanced")
        command.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
        command.set_defaults(measure=measure, name=name)
    return parser


if __name__ == "__main__":
    main()
