"""Imaginary countries: a drawn flag, and facts drawn at random from the closed vocabulary of the real world.

The words are real, who they belong to is not: a name, a capital, a currency are drawn independently, so nothing about a
real country can be learnt here. Every draw is a function of its seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from comem_core.knowledge.items import KnowledgeItem
from comem_core.worlds.countries.world import ATTRIBUTES, closed_vocabulary, item_text_of, templates
from comem_core.worlds.imaginary.flags import Design, draw_artist, draw_design, encode_png, render

SOURCE, LICENCE = "imaginary countries (procedural)", "Apache-2.0"


@dataclass(frozen=True)
class ImaginaryCountry:
    """A flag design and, by attribute, one or more values in one language."""

    language: str
    design: Design
    facts: Mapping[str, Sequence[str]]

    def picture(self, random: Random) -> bytes:
        """The flag as one more artist draws it (PNG)."""
        return encode_png(render(self.design, draw_artist(random)))

    def item(self, random: Random) -> KnowledgeItem:
        """A knowledge item: the flag by one artist, and the facts in random order."""
        order = list(self.facts)
        random.shuffle(order)
        text = item_text_of(self.facts, self.language, order)
        return KnowledgeItem(
            image=self.picture(random), text=text, language=self.language, source=SOURCE, licence=LICENCE
        )


def draw_country(random: Random, language: str, *, num_facts: int) -> ImaginaryCountry:
    """Draw a country with its name and `num_facts` further facts; values are uniform over the closed vocabulary."""
    vocabulary = _vocabulary(language)
    attributes = [kind for kind in vocabulary if kind != "name"]
    chosen = random.sample(attributes, k=min(num_facts, len(attributes)))
    counts = {"neighbour": random.choice((1, 2, 3)), "language": random.choice((1, 1, 2))}
    facts: dict[str, Sequence[str]] = {"name": (random.choice(vocabulary["name"]),)}
    for kind in chosen:
        facts[kind] = tuple(random.sample(vocabulary[kind], k=counts.get(kind, 1)))
    return ImaginaryCountry(language, draw_design(random), facts)


@cache
def _vocabulary(language: str) -> dict[str, list[str]]:
    """The closed vocabulary of one language, by attribute."""
    words = closed_vocabulary()
    return {kind: words.get(f"{kind}/{language}") or words[kind] for kind in ATTRIBUTES}


def draw_question(random: Random, country: ImaginaryCountry) -> tuple[str, str]:
    """A question about one of the country's facts in a random wording, and its answer (the first listed value)."""
    attribute = random.choice(list(country.facts))
    wordings = templates()[country.language]["question"][attribute]
    return random.choice(wordings), country.facts[attribute][0]
