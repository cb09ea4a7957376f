"""Short English passages with the questions that they answer: training data of the encoder for a reader of real words.

There are four kinds: invented things of an open vocabulary (`worlds/invented`), imaginary countries (words of the
closed vocabulary, random numbers), imaginary products (for numbers with a decimal point), and real countries of the
training split, without the facts that the benchmark asks for. Only the last describe anything real. Every draw is a
function of its seed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from random import Random

from comem_core.knowledge.items import KnowledgeItem
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.worlds.countries.splits import choose_pair_split
from comem_core.worlds.countries.world import (
    ATTRIBUTES,
    ITEM_LICENCE,
    ITEM_SOURCE,
    KNOWLEDGE_STYLE,
    load_countries,
    load_flags,
    read_templates,
    write_facts,
)
from comem_core.worlds.imaginary.countries import LICENCE, SOURCE, draw_country
from comem_core.worlds.invented import passages as invented

LANGUAGE = "en"
MAX_AREA_DIGITS = 8
MAX_ASIDES = 3

# The sentence that states a fact about a product, and the questions about it. `{value}` is a word or a number.
PRODUCT_FACTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "name": ("Product: {value}.", ("Which product is this?", "What is the name of this product?")),
    "origin": (
        "Country of origin: {value}.",
        ("From which country is this product?", "What is the country of origin of this product?"),
    ),
    "maker": ("Maker: {value}.", ("Who makes this product?", "What is the maker of this product?")),
    "energy": (
        "Energy per 100 g: {value} kcal.",
        ("How much energy is in 100 g of this product?", "How many kcal per 100 g does this product have?"),
    ),
    "fat": ("Fat per 100 g: {value} g.", ("How much fat is in 100 g of this product?", "How much fat per 100 g?")),
    "sugar": (
        "Sugar per 100 g: {value} g.",
        ("How much sugar is in 100 g of this product?", "How much sugar per 100 g?"),
    ),
    "protein": (
        "Protein per 100 g: {value} g.",
        ("How much protein is in 100 g of this product?", "How much protein per 100 g?"),
    ),
    "salt": ("Salt per 100 g: {value} g.", ("How much salt is in 100 g of this product?", "How much salt per 100 g?")),
}
MARKS = (
    "Alpine", "Amber", "Blue", "Bright", "Classic", "Country", "Crisp", "Daily", "Early", "Fresh", "Garden",
    "Golden", "Grand", "Green", "Happy", "Harvest", "Hill", "Honey", "Island", "Lake", "Little", "Meadow", "Morning",
    "Mountain", "Natural", "Northern", "Old", "Orchard", "Pure", "Red", "River", "Royal", "Silver", "Spring",
    "Summer", "Sunny", "Sweet", "Valley", "White", "Wild",
)  # fmt: skip
GOODS = (
    "Apple", "Apricot", "Bean", "Berry Juice", "Biscuit", "Bread", "Butter", "Cheese", "Cherry", "Cocoa", "Corn",
    "Cream", "Date", "Fig", "Grape Juice", "Honey", "Jam", "Lentils", "Milk", "Muesli", "Noodles", "Nut Drink",
    "Oats", "Olive", "Orange Juice", "Pasta", "Pear", "Pepper", "Plum", "Rice", "Soup", "Spinach", "Tea", "Tomato",
    "Yoghurt", "Yoghurt Drink",
)  # fmt: skip
MAKERS = (
    "Albers", "Bakkenes", "Corvin", "Dalmore", "Elvik", "Fjordal", "Garrick", "Hollman", "Iversen", "Jansa",
    "Kestrel", "Lindholm", "Marlow", "Norrby", "Oakley", "Pellman", "Quist", "Rosengren", "Sandvik", "Tilbury",
    "Ulmer", "Verdan", "Wexford", "Yarrow", "Zander",
)  # fmt: skip


@dataclass(frozen=True)
class Passage:
    """A knowledge item, the places of its values in its text (from, to; in order), the questions that it answers
    (question, answer; in random order), and some that it does not."""

    item: KnowledgeItem
    spans: tuple[tuple[int, int], ...]
    questions: tuple[tuple[str, str], ...]
    unstated: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """What the passage states, in the order of its text."""
        return tuple(self.item.text[start:end] for start, end in self.spans)


def draw_passage(
    random: Random,
    *,
    num_facts: int,
    real_share: float,
    product_share: float,
    invented_share: float = 0.0,
    prose_share: float = 0.0,
) -> Passage:
    """Draw a passage of one of the four kinds with `num_facts` facts (or all, if there are fewer).

    Of the invented ones `prose_share` are prose: several facts in a sentence.
    """
    place = random.random()
    for share, draw in (
        (real_share, _draw_real_country),
        (product_share, _draw_product),
        (invented_share, partial(_draw_invented, prose_share=prose_share)),
    ):
        if place < share:
            return draw(random, num_facts)
        place -= share
    return _draw_imaginary_country(random, num_facts)


def draw_passage_of(recipe: NamingRecipe, number: int) -> Passage:
    """Draw one of the passages of a training: a function of the recipe and the passage's number."""
    random = Random(f"passage-{recipe.seed}-{number}")
    return draw_passage(random, num_facts=random.randint(*recipe.num_facts), **recipe.shares)


def _draw_invented(random: Random, num_facts: int, *, prose_share: float) -> Passage:
    num_asides = random.randint(0, MAX_ASIDES)
    passage = invented.draw_passage(
        random, "train", num_facts=num_facts, num_asides=num_asides, prose_share=prose_share
    )
    questions = [(fact.question, fact.value) for fact in passage.facts]
    random.shuffle(questions)
    return Passage(passage.make_item(draw_picture(random)), passage.spans, tuple(questions), passage.unstated)


def draw_picture(random: Random) -> bytes:
    """Draw a picture for a passage that is not about its picture: an imaginary flag (PNG)."""
    return draw_country(random, LANGUAGE, num_facts=0).picture(random)


def _find_values(text: str) -> tuple[tuple[int, int], ...]:
    """Return the places of the values in sentences of the form `Name: value.`, without their units."""
    return tuple(found.span(1) for found in re.finditer(r": (.*?)(?: km²| kcal| g)?\.(?= |$)", text))


def _draw_imaginary_country(random: Random, num_facts: int) -> Passage:
    country = draw_country(random, LANGUAGE, num_facts=len(ATTRIBUTES) - 1)
    known = dict(country.facts)
    known["area"] = (_draw_digits(random, random.randint(1, MAX_AREA_DIGITS)),)
    known["calling_code"] = (f"+{_draw_digits(random, random.randint(1, 3))}",)
    picture = country.picture(random)
    return _make_country_passage(random, known, num_facts, image=picture, source=SOURCE, licence=LICENCE)


def _draw_real_country(random: Random, num_facts: int) -> Passage:
    """Draw some facts of a real country's item, so that the encoder sees words that belong together."""
    country_id, known = random.choice(_load_known_facts())
    image = _load_flag_images()[country_id]
    return _make_country_passage(random, known, num_facts, image=image, source=ITEM_SOURCE, licence=ITEM_LICENCE)


@cache
def _load_known_facts() -> tuple[tuple[str, Mapping[str, Sequence[str]]], ...]:
    """Return the facts of each training country that no part of the benchmark asks for."""
    return tuple(
        (
            country.country_id,
            {
                attribute: country.facts[LANGUAGE][attribute]
                for attribute in ATTRIBUTES
                if country.facts[LANGUAGE][attribute] and choose_pair_split(country.country_id, attribute) == "train"
            },
        )
        for country in load_countries()
        if country.split == "train"
    )


@cache
def _load_flag_images() -> Mapping[str, bytes]:
    return {flag.country_id: flag.image for flag in load_flags() if flag.style == KNOWLEDGE_STYLE}


def _make_country_passage(
    random: Random, known: Mapping[str, Sequence[str]], num_facts: int, *, image: bytes, source: str, licence: str
) -> Passage:
    kept = random.sample(sorted(known), k=min(num_facts, len(known)))
    order = [attribute for attribute in ATTRIBUTES if attribute in kept]
    wordings = read_templates()[LANGUAGE]["question"]
    questions = [(random.choice(wordings[attribute]), known[attribute][0]) for attribute in kept]
    item = KnowledgeItem(
        image=image, text=write_facts(known, LANGUAGE, order), language=LANGUAGE, source=source, licence=licence
    )
    return Passage(item, _find_values(item.text), tuple(questions))


def _draw_product(random: Random, num_facts: int) -> Passage:
    kept = random.sample(list(PRODUCT_FACTS), k=min(num_facts, len(PRODUCT_FACTS)))
    facts = {kind: _draw_product_value(random, kind) for kind in PRODUCT_FACTS if kind in kept}
    text = " ".join(PRODUCT_FACTS[kind][0].format(value=value) for kind, value in facts.items())
    questions = tuple((random.choice(PRODUCT_FACTS[kind][1]), facts[kind]) for kind in kept)
    item = KnowledgeItem(image=draw_picture(random), text=text, language=LANGUAGE, source=SOURCE, licence=LICENCE)
    return Passage(item, _find_values(text), questions)


def _draw_product_value(random: Random, kind: str) -> str:
    match kind:
        case "name":
            return f"{random.choice(MARKS)} {random.choice(GOODS)}"
        case "origin":
            return random.choice(_list_country_names())
        case "maker":
            return random.choice(MAKERS)
        case "energy":
            return str(random.randint(10, 900))
        case _:
            return f"{random.randint(0, 300) / 10:g}"


@cache
def _list_country_names() -> tuple[str, ...]:
    return tuple(country.facts[LANGUAGE]["name"][0] for country in load_countries())


def _draw_digits(random: Random, count: int) -> str:
    return str(random.randint(10 ** (count - 1), 10**count - 1))
