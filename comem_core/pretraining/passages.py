"""Short English passages with the questions that they answer: training data of the encoder for a reader of real words.

There are three kinds: imaginary countries (words of the closed vocabulary, random numbers), imaginary products (for
numbers with a decimal point), and real countries of the training split, without the facts that the benchmark asks for.
The imaginary ones describe nothing real. Every draw is a function of its seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from comem_core.knowledge.items import KnowledgeItem
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

LANGUAGE = "en"
MAX_AREA_DIGITS = 8

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
    """A knowledge item, its values in the order of its text, and the questions that it answers, in random order."""

    item: KnowledgeItem
    values: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]


def draw_passage(random: Random, *, num_facts: int, real_share: float, product_share: float) -> Passage:
    """Draw a passage of one of the three kinds with `num_facts` facts (or all, if there are fewer), in fixed order."""
    place = random.random()
    if place < real_share:
        return _draw_real_country(random, num_facts)
    if place < real_share + product_share:
        return _draw_product(random, num_facts)
    return _draw_imaginary_country(random, num_facts)


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
    separator, wordings = read_templates()[LANGUAGE]["list_separator"], read_templates()[LANGUAGE]["question"]
    questions = [(random.choice(wordings[attribute]), known[attribute][0]) for attribute in kept]
    item = KnowledgeItem(
        image=image, text=write_facts(known, LANGUAGE, order), language=LANGUAGE, source=source, licence=licence
    )
    return Passage(item, tuple(separator.join(known[attribute]) for attribute in order), tuple(questions))


def _draw_product(random: Random, num_facts: int) -> Passage:
    kept = random.sample(list(PRODUCT_FACTS), k=min(num_facts, len(PRODUCT_FACTS)))
    facts = {kind: _draw_product_value(random, kind) for kind in PRODUCT_FACTS if kind in kept}
    text = " ".join(PRODUCT_FACTS[kind][0].format(value=value) for kind, value in facts.items())
    questions = tuple((random.choice(PRODUCT_FACTS[kind][1]), facts[kind]) for kind in kept)
    image = draw_country(random, LANGUAGE, num_facts=0).picture(random)
    item = KnowledgeItem(image=image, text=text, language=LANGUAGE, source=SOURCE, licence=LICENCE)
    return Passage(item, tuple(facts.values()), questions)


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
