"""English questions, each with the one passage that answers it, about invented things, real countries and groceries.

There are six sets. `invented` has passages of an open vocabulary, whose names stand in no invented passage of the
training; `prose` has such passages with several facts in a sentence, and `unstated` asks what passages do not state.
`full` uses the countries' knowledge items as they are. `short` cuts them down to the fact that is asked for and one
other. `grocery` has photos and facts of products, from a folder that is not part of the project.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from comem_core.evaluation.metrics.same_answer import score_same_answer
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.pretraining.naming_recipe import UNSTATED
from comem_core.pretraining.passages import LANGUAGE, PRODUCT_FACTS, draw_picture
from comem_core.worlds.countries.splits import hash_to_unit
from comem_core.worlds.countries.world import (
    ATTRIBUTES,
    load_benchmark_questions,
    load_countries,
    load_knowledge_items,
    write_facts,
)
from comem_core.worlds.invented.passages import InventedPassage, draw_passage

INVENTED, PROSE, NOT_THERE = "invented", "prose", "unstated"
FULL, SHORT = "full", "short"
INVENTED_FACTS, INVENTED_ASIDES = (4, 6), (1, 4)  # lowest, highest: passages of 30 to 80 words
GROCERY_SOURCE, GROCERY_LICENCE = "GroceryStoreDataset (tests only, no part of the project)", "MIT"
# Our names of the facts, and the names in the grocery folder.
GROCERY_FACTS = {
    "origin": "country",
    "maker": "maker",
    "energy": "energy_kcal_per_100g",
    "fat": "fat_g_per_100g",
    "sugar": "sugars_g_per_100g",
    "protein": "protein_g_per_100g",
    "salt": "salt_g_per_100g",
}
GROCERY_ASKED = ("sugar", "origin")
# A nutrition value is right within 5 %: this allows for rounding on labels, but excludes similar products.
GROCERY_TOLERANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Case:
    """A question and the passage that answers it; `kind` is the kind of fact.

    Where the passage does not state the answer, `others` are the values that it states, and there is no kind.
    """

    question: Question
    item: KnowledgeItem
    kind: str
    others: tuple[str, ...] = ()

    def score(self, answer: str) -> float:
        return score_same_answer(answer, self.question).correct


def make_invented_cases(part: str, *, num_cases: int, prose: bool = False) -> list[Case]:
    """Draw passages whose names are of one split, each with one question; `kind` is `number` or `word`, as its answer.

    Each fact has a sentence of its own, but in `prose`, where sentences hold several. A number is right if it is the
    same number with the same unit, so it is scored as text.
    """
    name, cases = PROSE if prose else INVENTED, []
    for place in range(num_cases):
        passage, random = _draw_passage(name, part, place)
        fact = random.choice(passage.facts)
        item = passage.make_item(draw_picture(random))
        question = _ask(item, f"{name}/{part}/{place}", fact.question, fact.value, f"{passage.kind}/{fact.kind}")
        cases.append(Case(question=question, item=item, kind="number" if fact.is_number else "word"))
    return cases


def make_unstated_cases(part: str, *, num_cases: int) -> list[Case]:
    """Draw the passages of `make_invented_cases`, each with a question that it does not answer: right is `UNSTATED`."""
    cases = []
    for place in range(num_cases):
        passage, random = _draw_passage(INVENTED, part, place)
        item, [asked, *_] = passage.make_item(draw_picture(random)), passage.unstated
        question = _ask(item, f"{NOT_THERE}/{part}/{place}", asked, UNSTATED, passage.kind)
        others = tuple(fact.value for fact in passage.facts)
        cases.append(Case(question=question, item=item, kind="", others=others))
    return cases


def _draw_passage(name: str, part: str, place: int) -> tuple[InventedPassage, Random]:
    """Draw a passage, and return it with what draws on."""
    random = Random(f"{name}-{part}-{place}")
    num_facts, num_asides = random.randint(*INVENTED_FACTS), random.randint(*INVENTED_ASIDES)
    share = float(name == PROSE)
    return draw_passage(random, part, num_facts=num_facts, num_asides=num_asides, prose_share=share), random


def _ask(item: KnowledgeItem, question_id: str, question: str, answer: str, attribute: str) -> Question:
    return Question(
        question_id=question_id,
        question=question,
        image=item.picture,
        language=LANGUAGE,
        answers=(answer,),
        question_type="string",
        benchmark=question_id.partition("/")[0],
        attribute=attribute,
        entity_id=item.entity_id,
        gold_item_id=item.item_id,
    )


def make_country_cases(part: str, *, num_cases: int | None = None) -> list[Case]:
    """Return the English questions of countries-vqa with their knowledge items; any prefix is balanced by kind."""
    items = {item.item_id: item for item in load_knowledge_items()}
    asked = [question for question in load_benchmark_questions(part) if question.language == LANGUAGE][:num_cases]
    return [
        Case(question=question, item=items[question.gold_item_id or ""], kind=question.attribute or "")
        for question in asked
    ]


def make_short_cases(part: str, *, num_cases: int | None = None) -> list[Case]:
    """Return the same questions with passages of two facts: the one that is asked for, and one that a hash picks."""
    return [replace(case, item=_shorten_item(case)) for case in make_country_cases(part, num_cases=num_cases)]


MAKERS: Mapping[str, Callable[..., list[Case]]] = {
    INVENTED: make_invented_cases,
    PROSE: partial(make_invented_cases, prose=True),
    NOT_THERE: make_unstated_cases,
    FULL: make_country_cases,
    SHORT: make_short_cases,
}
"""What makes the cases of a set from a part and a number of cases; `grocery` has a folder besides."""


def _shorten_item(case: Case) -> KnowledgeItem:
    facts = _load_facts()[case.question.entity_id or ""]
    others = [attribute for attribute in ATTRIBUTES if attribute != case.kind and facts[attribute]]
    other = others[int(hash_to_unit("short", case.question.question_id) * len(others))]
    order = [attribute for attribute in ATTRIBUTES if attribute in (case.kind, other)]
    return replace(case.item, text=write_facts(facts, LANGUAGE, order))


def _load_facts() -> dict[str, Any]:
    return {country.country_id: country.facts[LANGUAGE] for country in load_countries()}


def read_grocery_cases(folder: Path) -> list[Case]:
    """Read questions about the groceries in a folder: sugar per 100 g and country of origin.

    A question shows another photo of the product than its passage.

    Raises:
        ValueError: the folder does not hold them.
    """
    if not (folder / "items.jsonl").is_file():
        raise ValueError(f"{folder} holds no items.jsonl: the grocery photos do not ship with the project")
    products = map(json.loads, (folder / "items.jsonl").read_text(encoding="utf-8").splitlines())
    return [case for product in products for case in _grocery_cases_of(product, folder)]


def _grocery_cases_of(product: dict[str, Any], folder: Path) -> Iterator[Case]:
    facts = {"name": product["name"]}
    facts |= {kind: product["facts"][name] for kind, name in GROCERY_FACTS.items() if name in product["facts"]}
    item = KnowledgeItem(
        image=(folder / product["photos"][0]).read_bytes(),
        text=" ".join(PRODUCT_FACTS[kind][0].format(value=_write_value(value)) for kind, value in facts.items()),
        language=LANGUAGE,
        source=GROCERY_SOURCE,
        licence=GROCERY_LICENCE,
        title=product["name"],
        entity_id=f"grocery/{product['class_id']}",
    )
    for kind in GROCERY_ASKED:
        if kind in facts:
            number = facts[kind] if kind == "sugar" else None
            question = Question(
                question_id=f"grocery/{product['class_id']}/{kind}",
                question=PRODUCT_FACTS[kind][1][0],
                image=(folder / product["photos"][1]).read_bytes(),
                language=LANGUAGE,
                answers=(_write_value(facts[kind]),),
                question_type="string" if number is None else "numerical",
                answer_low=None if number is None else number * (1 - GROCERY_TOLERANCE),
                answer_high=None if number is None else number * (1 + GROCERY_TOLERANCE),
                benchmark="grocery",
                attribute=kind,
                entity_id=item.entity_id,
                gold_item_id=item.item_id,
            )
            yield Case(question=question, item=item, kind=kind)


def _write_value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def choose_others(cases: Sequence[Case]) -> list[KnowledgeItem]:
    """Return for each case a passage about another entity that answers the same kind of question (control `shuffled`).

    Raises:
        ValueError: a kind of question is asked about one entity only.
    """
    return [others[0] for others in _list_others(cases, 1)]


def choose_three(cases: Sequence[Case]) -> list[list[KnowledgeItem]]:
    """Return for each case its passage and two as `choose_others` gives them, in an order that a hash decides.

    Raises:
        ValueError: a kind of question is asked about fewer than three entities.
    """
    shown = []
    for case, others in zip(cases, _list_others(cases, 2), strict=True):
        place = int(hash_to_unit("three", case.question.question_id) * 3)
        shown.append([*others[:place], case.item, *others[place:]])
    return shown


def _list_others(cases: Sequence[Case], count: int) -> Iterator[list[KnowledgeItem]]:
    ring = sorted(cases, key=lambda case: hash_to_unit("ring", case.question.question_id))
    for case in cases:
        start = ring.index(case)
        found: dict[str | None, KnowledgeItem] = {}
        for other in [*ring[start + 1 :], *ring[:start]]:
            if other.kind == case.kind and other.item.entity_id != case.item.entity_id and len(found) < count:
                found.setdefault(other.item.entity_id, other.item)
        if len(found) < count:
            raise ValueError(
                f"too few entities are asked about {case.kind!r} to show other passages: found {len(found) + 1}, "
                f"expected {count + 1}"
            )
        yield list(found.values())
