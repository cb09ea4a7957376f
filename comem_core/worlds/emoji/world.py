"""The emoji world as shipped: pictures, names and keywords, the knowledge items and the `emoji-vqa` questions.

An item is one artist's picture of a thing with its name and keywords in one of a hundred languages; a question shows
another artist's picture, in the item's language or in another one. Reads the files in `data/`. Independent of the
packages that they were built from (`build.py`), and of models.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.worlds.emoji.splits import choose_one, hash_to_unit
from comem_core.worlds.hashing import hash_files

DATA = Path(__file__).parent / "data"
EMOJI_FILE, LANGUAGES_FILE, TEMPLATES_FILE = "emoji.parquet", "languages.json", "templates.json"
DATA_FILES = (EMOJI_FILE, LANGUAGES_FILE, TEMPLATES_FILE)
BENCHMARK = "emoji-vqa"
PARTS = ("dev", "test")
ASKED_IN = ("ar", "de", "en", "es", "fr", "ja", "ru", "zh")
ATTRIBUTES = ("name", "keyword")
SAME, ACROSS = "same_language", "cross_language"
KNOWLEDGE_STYLE = "noto"
QUESTION_STYLES = ("fluent-emoji-flat", "twemoji")
STYLES = (KNOWLEDGE_STYLE, *QUESTION_STYLES)
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("emoji_id", "split", "category", "language", "name")]
    + [("keywords", pa.list_(pa.string())), ("pictures", pa.map_(pa.string(), pa.binary()))]
)

ITEM_SOURCE = "Noto Emoji through @iconify-json/noto 1.2.9; CLDR 48.2.0"
ITEM_LICENCE = "Apache-2.0 AND Unicode-3.0"


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """One thing: its code points, category, name and keywords in one language, and its pictures (PNG) by style."""

    emoji_id: str
    split: str
    category: str
    language: str
    name: str
    keywords: tuple[str, ...]
    pictures: Mapping[str, bytes] = field(hash=False, repr=False)

    @property
    def text(self) -> str:
        """The text of its knowledge item, which has no word but CLDR's."""
        return f"{self.name}: {', '.join(self.keywords)}"

    def list_answers(self, attribute: str) -> tuple[str, ...]:
        """Return the right answers about an attribute."""
        return (self.name,) if attribute == "name" else self.keywords


@cache
def name_revision() -> str:
    """Name the shipped data by the content of their files."""
    return hash_files(DATA, DATA_FILES)


@cache
def load_emoji() -> tuple[Emoji, ...]:
    """Read every emoji, in the order of their ids."""
    return tuple(
        Emoji(**row | {"keywords": tuple(row["keywords"]), "pictures": dict(row["pictures"])})
        for row in pq.read_table(DATA / EMOJI_FILE).to_pylist()
    )


@cache
def load_knowledge_items() -> tuple[KnowledgeItem, ...]:
    """Return one item per emoji, with the picture in the knowledge style."""
    return tuple(_make_item(each) for each in load_emoji())


@cache
def load_seed_questions() -> tuple[Question, ...]:
    """Return the questions about emoji that no part of the benchmark asks about."""
    return _make_questions("train")


@cache
def load_benchmark_questions(part: str) -> tuple[Question, ...]:
    """Return the questions of `emoji-vqa` for "dev" or "test", in the order of a hash.

    The split `same_language` asks in the item's language, `cross_language` in another one for a word of the item's.

    Raises ValueError for another part.
    """
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}; expected one of {', '.join(PARTS)}")
    return _make_questions(part)


@cache
def read_templates() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Return the wordings by language and attribute: `same`, and `across` with the place of a language's name."""
    return json.loads((DATA / TEMPLATES_FILE).read_text(encoding="utf-8"))


@cache
def read_language_names() -> Mapping[str, Mapping[str, str]]:
    """Return the names of the items' languages, in each language that questions are asked in."""
    return json.loads((DATA / LANGUAGES_FILE).read_text(encoding="utf-8"))


def _make_item(emoji: Emoji) -> KnowledgeItem:
    return KnowledgeItem(
        image=emoji.pictures[KNOWLEDGE_STYLE],
        text=emoji.text,
        language=emoji.language,
        source=ITEM_SOURCE,
        licence=ITEM_LICENCE,
        title=emoji.name,
        entity_id=emoji.emoji_id,
    )


def _make_questions(part: str) -> tuple[Question, ...]:
    made = (each for emoji in load_emoji() if emoji.split == part for each in _ask_about(emoji, part))
    return _shuffle(made)


def _ask_about(emoji: Emoji, part: str) -> Iterator[Question]:
    """Yield a question for each attribute in another language, and in the item's own if questions are asked in it."""
    for attribute in ATTRIBUTES:
        others = [each for each in ASKED_IN if each != emoji.language]
        yield _make_question(emoji, attribute, part, choose_one(others, "asked in", emoji.emoji_id, attribute))
        if emoji.language in ASKED_IN:
            yield _make_question(emoji, attribute, part, emoji.language)


def _make_question(emoji: Emoji, attribute: str, part: str, language: str) -> Question:
    """Make a question in a language; a hash of its key picks the artist."""
    key = (emoji.emoji_id, attribute, language)
    split = SAME if language == emoji.language else ACROSS
    wording = read_templates()[language][attribute]["same" if split == SAME else "across"]
    return Question(
        question_id="/".join((BENCHMARK, part, *key)),
        question=wording.replace("{language}", read_language_names()[language][emoji.language]),
        image=emoji.pictures[choose_one(QUESTION_STYLES, "style", *key)],
        language=language,
        answers=emoji.list_answers(attribute),
        benchmark=BENCHMARK,
        split=split if part != "train" else "train",
        attribute=attribute,
        entity_id=emoji.emoji_id,
        gold_item_id=_map_item_ids()[emoji.emoji_id],
    )


@cache
def _map_item_ids() -> dict[str | None, str]:
    return {item.entity_id: item.item_id for item in load_knowledge_items()}


def _shuffle(questions: Iterable[Question]) -> tuple[Question, ...]:
    return tuple(sorted(questions, key=lambda question: hash_to_unit("order", question.question_id)))
