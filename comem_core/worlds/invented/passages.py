"""Passages about invented companies, people, towns and things, with the questions that they answer.

No passage describes anything real: names and facts are drawn independently. Names of people and cities are real words
from packages (`data/SOURCES.json`), others are put together from syllables, so the vocabulary is open. Each word of a
name belongs to one split, so no name of a test passage stands in a training passage of this world. Every draw is a
function of its seed.
"""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from comem_core.knowledge.items import KnowledgeItem
from comem_core.worlds.hashing import hash_to_unit

DATA = Path(__file__).parent / "data"
NAMES_FILE, LISTS_FILE, FRAMES_FILE = "names.json", "lists.json", "frames.json"
SOURCE, LICENCE, LANGUAGE = "invented passages (procedural)", "Apache-2.0", "en"
SALT = "comem-invented-1"
SPLITS = ("train", "dev", "test")
MAX_SYLLABLES = 2
MAX_PHRASES, JOINED_SHARE, JOINTS = 3, 0.6, (", and ", "; ", ", while ")
"""Of prose: facts in the opening sentence, and sentences that are joined to the one before, and by what."""


@dataclass(frozen=True)
class Fact:
    """What a sentence of a passage states. `kind` names the fact, and `value` is the answer."""

    kind: str
    value: str
    question: str

    @property
    def is_number(self) -> bool:
        """Whether the answer begins with a figure."""
        return self.value[0].isdigit()


@dataclass(frozen=True)
class InventedPassage:
    """A text about one invented thing, and its facts in the order of the text.

    `spans` are the places (from, to) in the text of the name where it stands first, and of each value. `unstated` are
    questions about the thing that the text does not answer.
    """

    name: str
    kind: str
    text: str
    facts: tuple[Fact, ...]
    spans: tuple[tuple[int, int], ...]
    unstated: tuple[str, ...]

    def make_item(self, image: bytes) -> KnowledgeItem:
        """Make a knowledge item of it, with a picture."""
        return KnowledgeItem(
            image=image,
            text=self.text,
            language=LANGUAGE,
            source=SOURCE,
            licence=LICENCE,
            title=self.name,
            entity_id=f"invented/{self.kind}/{self.name}",
        )


def choose_split(word: str) -> str:
    """Return the split of a word of a name: three quarters train, a twentieth dev, a fifth test."""
    place = hash_to_unit(SALT, "word", word)
    return "train" if place < 0.75 else "dev" if place < 0.8 else "test"


def draw_passage(
    random: Random, split: str, *, num_facts: int, num_asides: int = 0, prose_share: float = 0.0
) -> InventedPassage:
    """Draw a passage whose names are all of one split, with `num_facts` facts (or all, if there are fewer).

    `num_asides` sentences that answer no question stand between them (at most one after each fact). Each fact has a
    sentence of its own, but in prose, which so large a share of the passages is: there the first may be told in the
    opening sentence, and sentences are joined.
    """
    frames = _read(FRAMES_FILE)
    prose = prose_share > 0 and random.random() < prose_share
    kind = random.choice(sorted(frames))
    frame, words = frames[kind], _Words(random, split)
    name, parts = words.fill(random.choice(frame["names"]))
    opening = random.choice(frame["openings"])
    facts, said = list[Fact](), set[str]()
    chosen = random.sample(sorted(frame["facts"]), k=min(num_facts, len(frame["facts"])))
    followed = random.sample(chosen, k=min(num_asides, len(chosen)))
    asides = dict(zip(followed, random.sample(_read(LISTS_FILE)["asides"], k=len(followed)), strict=True))
    num_phrases = random.randint(0, min(MAX_PHRASES, len(chosen))) if prose else 0
    writer = _Writer((f"{frame['lead']}." if num_phrases else opening).format(name=name), name)
    for place, fact in enumerate(chosen):
        stated = frame["facts"][fact]
        value = words.draw_other(stated["value"], said)
        said.add(value)
        filled = {**parts, "name": name, "last": parts.get("last", name), "value": value}
        form, question = random.choice(stated["statements"]), random.choice(stated["questions"]).format(**filled)
        if place < num_phrases:
            writer.add_phrase(stated["phrase"], filled, joint=_choose_joint(random, place, num_phrases))
        elif prose and writer.ends_with_fact and random.random() < JOINED_SHARE:
            writer.add_phrase(_lower_first(form[:-1]), filled, joint=random.choice(JOINTS))
        else:
            writer.add_sentence(form, filled)
        if fact in asides and place >= num_phrases - 1:
            writer.add_aside(asides[fact])
        facts.append(Fact(fact, value, question))
    unstated = _draw_unstated(frame["facts"], chosen, parts | {"name": name})
    return InventedPassage(name, kind, writer.text, tuple(facts), tuple(writer.spans), unstated)


def _draw_unstated(facts: Mapping[str, Any], stated: Sequence[str], filled: Mapping[str, str]) -> tuple[str, ...]:
    """Ask for the facts that are not stated, in an order that the name decides."""
    random = Random(f"unstated-{filled['name']}")
    others = sorted(facts.keys() - set(stated))
    random.shuffle(others)
    return tuple(random.choice(facts[fact]["questions"]).format(**filled) for fact in others)


class _Writer:
    """Writes the text of a passage, and notes where its name and values stand."""

    def __init__(self, opening: str, name: str):
        start = opening.index(name)
        self.text, self.spans, self.ends_with_fact = opening, [(start, start + len(name))], False

    def add_sentence(self, form: str, filled: Mapping[str, str]) -> None:
        """Write a sentence of its own."""
        self.text += " "
        self._add(form, filled)

    def add_phrase(self, form: str, filled: Mapping[str, str], *, joint: str) -> None:
        """Write on in the last sentence, before its full stop."""
        self.text = self.text[:-1] + joint
        self._add(f"{form}.", filled)

    def add_aside(self, sentence: str) -> None:
        """Write a sentence that states no fact."""
        self.text, self.ends_with_fact = f"{self.text} {sentence}", False

    def _add(self, form: str, filled: Mapping[str, str]) -> None:
        start = len(self.text) + len(form[: form.index("{value}")].format(**filled))
        self.spans.append((start, start + len(filled["value"])))
        self.text, self.ends_with_fact = self.text + form.format(**filled), True


def _choose_joint(random: Random, place: int, count: int) -> str:
    """Choose what stands before a phrase of the opening sentence."""
    if place == 0:
        return random.choice((" ", ", "))
    return " and " if place == count - 1 else ", "


def _lower_first(form: str) -> str:
    """Let a sentence begin small, unless it begins with a name or a value."""
    return form if form.startswith("{") else form[0].lower() + form[1:]


class _Words:
    """Draws words and values of one split."""

    def __init__(self, random: Random, split: str):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}")
        self.random, self.split = random, split

    def fill(self, form: str) -> tuple[str, dict[str, str]]:
        """Fill the form of a name; return it with the words that it was filled with."""
        parts = {part: self.draw(part) for part in _list_placeholders(form)}
        return form.format(**parts), parts

    def draw(self, kind: str) -> str:
        """Draw a value. `kind` is `year`, `price`, `number:LOW:HIGH[:UNIT]`, `list:NAME`, or a kind of name."""
        random, lists = self.random, _read(LISTS_FILE)
        match kind.split(":"):
            case ["number", low, high, *unit]:
                return f"{_draw_number(random, int(low), int(high))}{unit[0] if unit else ''}"
            case ["list", name]:
                return random.choice(lists[name])
            case ["year"]:
                return str(random.randint(1500, 2025))
            case ["price"]:
                return f"{random.randint(3, 400)} {random.choice(('euros', 'dollars', 'pounds'))}"
            case ["person"]:
                return f"{self.draw('first')} {self.draw('last')}"
            case ["company"]:
                return f"{self.draw(random.choice(('coined', 'last')))} {random.choice(lists['trades'])}"
            case ["coined"]:
                return self._coin()
            case ["digits"]:
                return str(random.randint(10, 999))
            case ["letter"]:
                return random.choice("ABCDEFGHKLMNPQRSTVWXZ")
            case ["colour" | "animal" as name]:
                return random.choice(lists[f"{name}s"]).capitalize()
            case ["trade" | "place" | "word" as name]:
                return random.choice(lists[f"{name}s"])
            case ["first" | "last" | "city" as name]:
                return random.choice(_list_names(name, self.split))
        raise ValueError(f"unknown kind of value {kind!r}")

    def draw_other(self, kind: str, said: Set[str]) -> str:
        """Draw a value that was not said."""
        while (value := self.draw(kind)) in said:
            pass
        return value

    def _coin(self) -> str:
        lists = _read(LISTS_FILE)
        while True:
            syllables = self.random.choices(lists["syllables"], k=self.random.randint(1, MAX_SYLLABLES))
            word = ("".join(syllables) + self.random.choice(lists["endings"])).capitalize()
            if choose_split(word) == self.split:
                return word


def _draw_number(random: Random, low: int, high: int) -> int:
    """Draw a number whose count of digits is uniform, so that small ones are as frequent as large ones."""
    digits = random.randint(len(str(low)), len(str(high)))
    return random.randint(max(low, 10 ** (digits - 1)), min(high, 10**digits - 1))


def _list_placeholders(form: str) -> list[str]:
    return [part.split("}")[0] for part in form.split("{")[1:]]


@cache
def _list_names(kind: str, split: str) -> Sequence[str]:
    return [name for name in _read(NAMES_FILE)[kind] if choose_split(name) == split]


@cache
def _read(name: str) -> Mapping[str, Any]:
    return json.loads((DATA / name).read_text(encoding="utf-8"))
