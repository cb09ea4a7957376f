"""Imaginary countries: a drawn or borrowed flag, and facts drawn at random from the real world's closed vocabulary.

The words are real, but not their combination: name, capital and currency are drawn independently, so nothing about a
real country can be learnt from them. Every draw is a function of its seed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from comem_core.knowledge.items import KnowledgeItem
from comem_core.worlds.countries.world import ATTRIBUTES, list_vocabulary, read_templates, write_facts
from comem_core.worlds.imaginary.borrowed import BorrowedFlag, borrow_flag
from comem_core.worlds.imaginary.flags import DrawnFlag, draw_design, encode_png

NUM_ITEMS, LANGUAGES = 300, ("en", "es", "ru", "zh", "ar")
SOURCE, LICENCE = "imaginary countries (procedural)", "Apache-2.0"


@dataclass(frozen=True)
class ImaginaryCountry:
    """A flag and, by attribute, one or more values in one language."""

    language: str
    flag: DrawnFlag | BorrowedFlag
    facts: Mapping[str, Sequence[str]]

    def picture(self, random: Random) -> bytes:
        """Draw the flag by another random artist (PNG)."""
        return encode_png(self.flag.picture(random))

    def item(self, random: Random) -> KnowledgeItem:
        """Make a knowledge item: the flag by one artist, and the facts in random order."""
        order = list(self.facts)
        random.shuffle(order)
        text = write_facts(self.facts, self.language, order)
        return KnowledgeItem(
            image=self.picture(random), text=text, language=self.language, source=SOURCE, licence=LICENCE
        )


def draw_country(random: Random, language: str, *, num_facts: int, borrowed_share: float = 0.0) -> ImaginaryCountry:
    """Draw a country with its name and `num_facts` further facts; values are uniform over the closed vocabulary.

    `borrowed_share` is how often its flag is borrowed from a real country of the train split.
    """
    attributes = [kind for kind in _load_vocabulary(language) if kind != "name"]
    facts = _draw_facts(random, language, random.sample(attributes, k=min(num_facts, len(attributes))))
    borrowed = borrowed_share and random.random() < borrowed_share
    return ImaginaryCountry(language, borrow_flag(random) if borrowed else DrawnFlag(draw_design(random)), facts)


@cache
def draw_imaginary_items() -> tuple[KnowledgeItem, ...]:
    """Draw the corpus for the control `foreign`: it says nothing about the real world, in the languages in turn."""
    items = []
    for number in range(NUM_ITEMS):
        random = Random(int(hashlib.sha256(f"foreign-{number}".encode()).hexdigest()[:8], 16))
        items.append(draw_country(random, LANGUAGES[number % len(LANGUAGES)], num_facts=7).item(random))
    return tuple(items)


def draw_rival(random: Random, country: ImaginaryCountry, *, lookalike: bool = False) -> ImaginaryCountry:
    """Draw a country that states the same kinds of fact as another, so that only the flag tells them apart.

    A look-alike has nearly the same flag. Otherwise the flag is drawn or borrowed, as the other's was.
    """
    facts = _draw_facts(random, country.language, [kind for kind in country.facts if kind != "name"])
    if lookalike:
        flag = country.flag.draw_lookalike(random)
    elif isinstance(country.flag, BorrowedFlag):
        flag = borrow_flag(random)
    else:
        flag = DrawnFlag(draw_design(random))
    return ImaginaryCountry(country.language, flag, facts)


def _draw_facts(random: Random, language: str, kinds: Sequence[str]) -> Mapping[str, Sequence[str]]:
    vocabulary = _load_vocabulary(language)
    counts = {"neighbour": random.choice((1, 2, 3)), "language": random.choice((1, 1, 2))}
    facts: dict[str, Sequence[str]] = {"name": (random.choice(vocabulary["name"]),)}
    for kind in kinds:
        facts[kind] = tuple(random.sample(vocabulary[kind], k=counts.get(kind, 1)))
    return facts


@cache
def _load_vocabulary(language: str) -> dict[str, list[str]]:
    """Return the closed vocabulary of one language, by attribute."""
    words = list_vocabulary()
    return {kind: words.get(f"{kind}/{language}") or words[kind] for kind in ATTRIBUTES}


def draw_question(random: Random, country: ImaginaryCountry) -> tuple[str, str]:
    """Draw a question about one of the country's facts in a random wording, and its answer (the first listed value)."""
    attribute = random.choice(list(country.facts))
    wordings = read_templates()[country.language]["question"][attribute]
    return random.choice(wordings), country.facts[attribute][0]
