"""`python -m comem_core.measures.countries_vqa`: what memory carries, on the test questions of countries-vqa.

`table` asks every question under every condition; `items` shows more and more items; `variants` compares encoders that
were trained otherwise. Rows go to `docs/results/countries_vqa.json`; the measures are strict exact match, in percent,
with 95 % intervals clustered by country. Several encoders of several seeds are averaged question by question.
`.../unseen_entity` is of countries that are in no training; the other questions are about new facts of known ones.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from comem_core.backbone.loading import load_backbone
from comem_core.evaluation.statistics import score_interval
from comem_core.measures.countries_exam import Answers, CountriesExam, ItemsOf
from comem_core.measures.results import Measured, write_results
from comem_core.measures.tables import refresh_tables
from comem_core.memory.checkpoint import find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder

TOPIC, RECIPE, BASE = "countries_vqa", "tiny_cpu", "tiny"
ENCODERS = ("tiny-encoder",)
BASE_SEEDS = (0,)  # what stands in the prompt is answered without an encoder, whose seeds then say nothing
DEPTHS = (1, 2, 3, 5, 8, 10, 15, 20)
VARIANT_DEPTHS = ("gold", "k3", "k3_drawn")
IN_DETAIL = ("em_text_gold", "em_text_k3", "em_memory_gold", "em_memory_k3")
COMMAND = "python -m comem_core.measures.countries_vqa"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one thing, print it, and put its rows in place of the earlier ones."""
    chosen = _parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    rows = list(chosen.measure(chosen))
    for row in rows:
        interval = "" if row.low is None else f"({row.low} to {row.high})"
        print(f"{row.measure:>34}  {row.value:7.2f} {row.unit:<7} {interval:<18} n {row.n}")
    for path in (write_results(TOPIC, rows), *refresh_tables(TOPIC)):
        print(f"written: {path}")


@dataclass(frozen=True)
class AnswerMarker:
    """Turns answers to an exam into rows. `command` is what measures them again."""

    exam: CountriesExam
    command: str

    def score(
        self, measure: str, answers: Sequence[Answers], *, seeds: Sequence[int], among_Q: np.ndarray | None = None
    ) -> Measured:
        """The share of right answers, the mean over encoders (one `Answers` each), of all questions or some of them."""
        right_Q = np.mean([each.right_Q for each in answers], axis=0)
        among_Q = np.ones(len(right_Q), dtype=bool) if among_Q is None else among_Q
        countries_Q = np.array([question.entity_id for question in self.exam.questions])
        found = score_interval(right_Q[among_Q], countries_Q[among_Q].tolist())
        low, high = (None if end is None else round(100 * end, 2) for end in (found.low, found.high))
        return replace(
            self.make_plain(measure, round(100 * found.value, 2), "%"),
            low=low,
            high=high,
            n=found.n,
            seeds=tuple(seeds),
        )

    def mark_in_detail(self, measure: str, answers: Sequence[Answers], *, seeds: Sequence[int]) -> Iterator[Measured]:
        """The same by language, kind of fact and split of the benchmark: `measure/en`, `measure/capital`, ..."""
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
        """A number of all questions that no chance is in."""
        n = len(self.exam.questions)
        return Measured(measure=measure, recipe=RECIPE, value=value, unit=unit, n=n, command=self.command)


def measure_table(chosen: argparse.Namespace) -> Iterator[Measured]:
    """The headline: every condition, the main ones also by language, kind of fact and split.

    `shuffled` is told apart by whether the other country's items state the answer too, as a region may.
    """
    encoders, exam = _encoders_of_one_recipe(chosen.encoders), _exam(chosen)
    marking = AnswerMarker(exam, _command(chosen, chosen.encoders))
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


def _shown(exam: CountriesExam) -> Mapping[str, ItemsOf]:
    """The choices of items that are shown as text and as memory alike."""
    return {
        "gold": partial(exam.choose_with_gold, k=1),
        "k3": partial(exam.choose_with_gold, k=3),
        "k3_any_order": partial(exam.choose_with_gold_anywhere, k=3),
        "k3_drawn": partial(exam.choose_gold_among_others, k=3),
        "k3_as_retrieved": lambda question: exam.retrieved[question.question_id][:3],
    }


def _ask_prompts(exam: CountriesExam, encoder: MemoryEncoder) -> Iterator[tuple[str, Answers]]:
    """Nothing, and items in the prompt: through the reader alone, so that any encoder of the recipe will do."""
    yield "em_none", exam.ask_prompt(encoder, lambda question: (), label="none")
    for name, items_of in _shown(exam).items():
        yield f"em_text_{name}", exam.ask_prompt(encoder, items_of, label=f"text {name}")


def _ask_memories(exam: CountriesExam, encoder: MemoryEncoder) -> Iterator[tuple[str, Answers]]:
    """The same items as memory, and the controls."""
    shown = {f"memory_{name}": items_of for name, items_of in _shown(exam).items()}
    shown |= {control: partial(exam.choose_for_control, control, k=3) for control in ("shuffled", "foreign")}
    memories = exam.encode_shown(encoder, *shown.values())
    for name, items_of in shown.items():
        yield f"em_{name}", exam.ask_memory(encoder, memories, items_of, label=name)
    yield "em_empty", exam.ask_empty(encoder, 3, label="empty")


def measure_items(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Text and memory with 1 to 20 items, the gold one among them."""
    encoders, exam = _encoders_of_one_recipe(chosen.encoders), _exam(chosen)
    marking, seeds = (
        AnswerMarker(exam, _command(chosen, chosen.encoders)),
        [encoder.recipe.seed for encoder in encoders],
    )
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


def measure_variants(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Memory of the gold item, of three ranked, and of the gold and two drawn ones, for encoders named NAME=FOLDER."""
    exam = _exam(chosen)
    for name, folder in chosen.encoders:
        encoder, marking = _encoder(folder), AnswerMarker(exam, _command(chosen, [folder], name=name))
        shown = {depth: items_of for depth, items_of in _shown(exam).items() if depth in VARIANT_DEPTHS}
        memories = exam.encode_shown(encoder, *shown.values())
        for depth, items_of in shown.items():
            answers = exam.ask_memory(encoder, memories, items_of, label=f"{name}, {depth}")
            yield marking.score(f"em_memory_{depth}_{name}", [answers], seeds=[encoder.recipe.seed])


def _exam(chosen: argparse.Namespace) -> CountriesExam:
    return CountriesExam.of(load_backbone(BASE), part=chosen.part, num_questions=chosen.questions)


def _encoder(folder: str) -> MemoryEncoder:
    return MemoryEncoder.load(find_encoder_folder(folder), load_backbone(BASE))


def _encoders_of_one_recipe(folders: Sequence[str]) -> list[MemoryEncoder]:
    """Load encoders whose answers are to be averaged; raises ValueError where more than their seed differs."""
    encoders = [_encoder(folder) for folder in folders]
    for folder, encoder in zip(folders, encoders, strict=True):
        if replace(encoder.recipe, seed=0) != replace(encoders[0].recipe, seed=0):
            raise ValueError(
                f"the recipes of {folders[0]} and {folder} differ in more than the seed, so their mean says nothing; "
                "compare them with `variants NAME=FOLDER ...`"
            )
    return encoders


def _command(chosen: argparse.Namespace, folders: Sequence[str], *, name: str = "") -> str:
    """What measures a row again; of a folder outside of this one only the end is told, for it is another elsewhere."""
    words = [COMMAND, chosen.name]
    if tuple(folders) != ENCODERS or name:
        words += [f"{name}={_told(folder)}" if name else _told(folder) for folder in folders]
    if chosen.part != "test":
        words += ["--part", chosen.part]
    if chosen.questions is not None:
        words += ["--questions", str(chosen.questions)]
    return " ".join(words)


def _told(folder: str) -> str:
    path, here = Path(folder), Path.cwd()
    if not path.is_absolute():
        return folder
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(Path("...", *path.parts[-2:]))


def _named_folder(given: str) -> tuple[str, str]:
    name, _, folder = given.partition("=")
    if not (name and folder):
        raise argparse.ArgumentTypeError(
            f"{given!r} names no variant; expected NAME=FOLDER, as vectors_4=runs/4/encoder"
        )
    return name, folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, measure in (("table", measure_table), ("items", measure_items), ("variants", measure_variants)):
        command = commands.add_parser(name, help=measure.__doc__, description=measure.__doc__)
        if name == "variants":
            told = "a variant's name in its measures, and its encoder"
            command.add_argument("encoders", nargs="+", type=_named_folder, metavar="NAME=FOLDER", help=told)
        else:
            told = "shipped names or folders; several of one recipe and other seeds are averaged (default tiny-encoder)"
            command.add_argument("encoders", nargs="*", default=ENCODERS, metavar="FOLDER", help=told)
        command.add_argument("--part", choices=("dev", "test"), default="test", help="of countries-vqa (default test)")
        command.add_argument("--questions", type=int, help="only the first so many, a balanced choice (default all)")
        command.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
        command.set_defaults(measure=measure, name=name)
    return parser


if __name__ == "__main__":
    main()
