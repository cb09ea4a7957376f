"""`python -m comem_core.measures.countries.capacity FOLDER ...`: what a memory holds of an item with so many facts.

Each folder has an encoder with another number of vectors. Every test question of countries-vqa is asked with one item
about its country, which states so many facts, in any order: the one asked about, and others. Then with an item that
states all others but not this one. Rows go to `docs/results/countries_vqa.json`.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch

from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.measures.countries.exam import Answers, CountriesExam, encode_all
from comem_core.measures.countries_vqa import BASE, BASE_SEEDS, TOPIC, AnswerMarker
from comem_core.measures.provenance import shorten_folder
from comem_core.measures.results import Measured
from comem_core.measures.tables import describe_rows, record_rows
from comem_core.memory.description import find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.worlds.countries.world import ATTRIBUTES, Country, load_countries, read_value, write_facts

COMMAND = "python -m comem_core.measures.countries.capacity"
NUM_FACTS = (1, 2, 4, 6, 8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and replace the stored rows of the same measures."""
    chosen = _make_parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    encoders = [MemoryEncoder.load(find_encoder_folder(folder), load_backbone(BASE)) for folder in chosen.encoders]
    numbers = [encoder.recipe.num_vectors for encoder in encoders]
    if len(set(numbers)) < len(numbers):
        raise SystemExit(f"error: the encoders have {numbers} vectors; expected another number each")
    exam = CountriesExam.of(load_backbone(BASE), part=chosen.part, num_questions=chosen.questions)
    words = [COMMAND, *map(shorten_folder, chosen.encoders)]
    words += ["--part", chosen.part] if chosen.part != "test" else []
    words += ["--questions", str(chosen.questions)] if chosen.questions is not None else []
    rows = list(measure_capacity(exam, encoders, command=" ".join(words)))
    print(*describe_rows(rows), sep="\n")
    record_rows(TOPIC, rows)


def measure_capacity(exam: CountriesExam, encoders: Sequence[MemoryEncoder], *, command: str) -> Iterator[Measured]:
    """Yield `em_text_facts_N` and `em_memory_facts_N_vectors_M`, and the same of items that lack the fact.

    `em_..._unstated` is how often the right answer is given all the same, `other_..._unstated` how often another of the
    item's values is.
    """
    for num_facts in NUM_FACTS:
        yield from ShownFacts.of(exam, num_facts).measure(encoders, f"facts_{num_facts}", command=command)
    unstated = ShownFacts.of(exam, None)
    yield from unstated.measure(encoders, "unstated", command=command)
    yield from unstated.ask_for_others().measure(encoders, "unstated", command=command, statistic="other")


@dataclass(frozen=True)
class ShownFacts:
    """Questions, and the one item that each is shown."""

    exam: CountriesExam
    item_of: Mapping[str, KnowledgeItem]
    values_of: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, exam: CountriesExam, num_facts: int | None) -> "ShownFacts":
        """Show each question an item with so many facts, if its country has them; with None, all but its own fact."""
        countries = {country.country_id: country for country in load_countries()}
        item_of, values_of = dict[str, KnowledgeItem](), dict[str, tuple[str, ...]]()
        for question in exam.questions:
            kinds = _choose_kinds(question, countries[question.entity_id or ""], num_facts)
            if kinds is None:
                continue
            facts = countries[question.entity_id or ""].facts[question.language]
            item = exam.items[question.gold_item_id or ""]
            item_of[question.question_id] = replace(item, text=write_facts(facts, question.language, kinds))
            values_of[question.question_id] = tuple(value for kind in kinds for value in facts[kind])
        asked = [question for question in exam.questions if question.question_id in item_of]
        items = {item.item_id: item for item in item_of.values()}
        return cls(replace(exam, questions=asked, items=items), item_of, values_of)

    def ask_for_others(self) -> "ShownFacts":
        """Take any value of the item for a right answer, but those that are right."""
        asked = [
            replace(question, answers=tuple(set(self.values_of[question.question_id]) - set(question.answers)))
            for question in self.exam.questions
        ]
        return replace(self, exam=replace(self.exam, questions=asked))

    def measure(
        self, encoders: Sequence[MemoryEncoder], name: str, *, command: str, statistic: str = "em"
    ) -> Iterator[Measured]:
        marker = AnswerMarker(self.exam, command)

        def find_items(question: Question) -> list[str]:
            return [self.item_of[question.question_id].item_id]

        def mark(measure: str, answers: Answers, seed: int) -> Measured:
            return marker.score(measure, [answers], seeds=[seed])

        text = self.exam.ask_prompt(encoders[0], find_items, label=f"text, {name}")
        yield mark(f"{statistic}_text_{name}", text, BASE_SEEDS[0])
        for encoder in encoders:
            measure = f"{statistic}_memory_{name}_vectors_{encoder.recipe.num_vectors}"
            answers = self.exam.ask_memory(encoder, encode_all(encoder, self.exam.items), find_items, label=measure)
            yield mark(measure, answers, encoder.recipe.seed)


def _choose_kinds(question: Question, country: Country, num_facts: int | None) -> list[str] | None:
    """Choose which facts an item states, and in which order; the question's id is the seed. None: there are too few."""
    asked, random = question.attribute or "", Random(f"{question.question_id}-facts-{num_facts}")
    others = [kind for kind in ATTRIBUTES if kind != asked and read_value(country, kind, question.language)]
    if num_facts is None:
        return random.sample(others, len(others))
    if len(others) < num_facts - 1:
        return None
    kinds = [asked, *random.sample(others, num_facts - 1)]
    random.shuffle(kinds)
    return kinds


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument(
        "encoders",
        nargs="+",
        metavar="FOLDER",
        help="encoders with different numbers of vectors: folders or names",
    )
    parser.add_argument("--part", choices=("dev", "test"), default="test", help="part of countries-vqa (default test)")
    parser.add_argument("--questions", type=int, help="ask only the first N questions, which are balanced")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    return parser


if __name__ == "__main__":
    main()
