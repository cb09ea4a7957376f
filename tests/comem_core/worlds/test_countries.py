"""The countries world as it ships: what is on which side, what can be answered, and what is owed to whom."""

import io
import json
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from PIL import Image

from comem_core.knowledge.items import Question
from comem_core.worlds.countries import world
from comem_core.worlds.countries.sources import SOURCES
from comem_core.worlds.countries.splits import choose_pair_split, choose_split

SCRIPTS = {"en": "LATIN", "es": "LATIN", "ru": "CYRILLIC", "zh": "CJK", "ar": "ARABIC"}


def every_question() -> tuple[Question, ...]:
    return world.load_seed_questions() + world.load_benchmark_questions("dev") + world.load_benchmark_questions("test")


def pixels(image: bytes) -> tuple[tuple[int, int], bytes]:
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    return picture.size, picture.tobytes()


def test_there_are_about_250_countries_in_three_splits_and_every_dropped_one_has_a_reason():
    countries = world.load_countries()
    assert len(countries) == len({country.country_id for country in countries}) >= 225
    assert all(country.split == choose_split(country.country_id) for country in countries)
    sizes = Counter(country.split for country in countries)
    assert sizes["train"] > sizes["test"] > sizes["dev"] > 25
    dropped = json.loads((world.DATA / "build.json").read_text())["dropped_countries"]
    assert len(dropped) + len(countries) == 252  # what GeoNames lists
    assert not set(dropped) & {country.country_id for country in countries}
    assert all(dropped.values())


def test_every_country_has_every_fact_in_five_languages():
    for country in world.load_countries():
        for language in world.LANGUAGES:
            for attribute in world.ATTRIBUTES:
                values = world.read_value(country, attribute, language)
                assert values or attribute == "neighbour", (country.country_id, attribute, language)
                assert len(set(values)) == len(values) <= 3
                assert all(value == value.strip() and value for value in values)


def test_no_two_countries_have_one_name_or_one_flag():
    for language in world.LANGUAGES:
        names = [world.read_value(country, "name", language)[0] for country in world.load_countries()]
        assert len(set(names)) == len(names)
    for style in world.STYLES:
        pictures = [pixels(flag.image) for flag in world.load_flags() if flag.style == style]
        assert len(set(pictures)) == len(pictures)


def test_no_picture_is_on_both_sides():
    shown = {pixels(item.picture) for item in world.load_knowledge_items()}
    asked = {pixels(question.image) for question in every_question()}
    assert len(shown) == len(world.load_countries())
    assert not shown & asked


def test_nearly_every_country_is_drawn_by_four_artists_and_all_but_one_by_three():
    styles = defaultdict(set)
    for flag in world.load_flags():
        assert Image.open(io.BytesIO(flag.image)).size == (flag.width, flag.height)
        assert max(flag.width, flag.height) == 160
        styles[flag.country_id].add(flag.style)
    assert styles.keys() == {country.country_id for country in world.load_countries()}
    assert all(world.KNOWLEDGE_STYLE in drawn and len(drawn) >= 2 for drawn in styles.values())
    num_styles = Counter(len(drawn) for drawn in styles.values())
    assert num_styles[4] > 215
    assert num_styles[2] <= 1  # Martinique: two of the four still draw its former flags


def test_a_country_keeps_to_its_split():
    split_by_entity = {country.country_id: country.split for country in world.load_countries()}
    assert {split_by_entity[str(question.entity_id)] for question in world.load_seed_questions()} == {"train"}
    for part in world.PARTS:
        for question in world.load_benchmark_questions(part):
            expected = part if question.split == "unseen_entity" else "train"
            assert split_by_entity[str(question.entity_id)] == expected


def test_a_held_out_pair_is_asked_in_one_place_only():
    places = defaultdict(set)
    for where, questions in (
        ("seed", world.load_seed_questions()),
        ("dev", world.load_benchmark_questions("dev")),
        ("test", world.load_benchmark_questions("test")),
    ):
        for question in questions:
            places[question.entity_id, question.attribute].add(where)
    assert all(len(where) == 1 for where in places.values())
    train = [country.country_id for country in world.load_countries() if country.split == "train"]
    pairs = Counter(choose_pair_split(country_id, attribute) for country_id in train for attribute in world.ATTRIBUTES)
    assert 0.10 < (pairs["dev"] + pairs["test"]) / pairs.total() < 0.20


def test_every_question_is_answerable_from_the_text_of_its_gold_item():
    items = {item.item_id: item for item in world.load_knowledge_items()}
    assert len(items) == len(world.load_countries()) * len(world.LANGUAGES)
    for question in every_question():
        item = items[str(question.gold_item_id)]
        assert (item.entity_id, item.language) == (question.entity_id, question.language)
        assert question.answers
        assert all(answer in item.text for answer in question.answers)


def test_question_ids_are_unique_and_say_what_is_asked():
    ids = [question.question_id for question in every_question()]
    assert len(set(ids)) == len(ids)
    question = next(
        q for q in world.load_benchmark_questions("test") if q.attribute == "capital" and q.language == "en"
    )
    assert question.question_id == f"countries-vqa/test/{question.entity_id}/capital/en"


def test_a_question_never_names_the_country_and_is_one_of_the_three_wordings():
    names = {
        (country.country_id, language): world.read_value(country, "name", language)[0]
        for country in world.load_countries()
        for language in world.LANGUAGES
    }
    for question in every_question():
        wordings = world.read_templates()[question.language]["question"][question.attribute]
        assert question.question in wordings
        assert names[str(question.entity_id), question.language] not in question.question


def test_only_area_is_a_number_and_right_within_ten_percent():
    for question in world.load_benchmark_questions("test"):
        if question.attribute == "area":
            assert question.question_type == "numerical"
            assert question.answer_low is not None and question.answer_high is not None
            area = int(question.answers[0])
            assert question.answer_low == pytest.approx(0.9 * area, abs=0.1)
            assert question.answer_high == pytest.approx(1.1 * area, abs=0.1)
        else:
            assert (question.question_type, question.answer_low, question.answer_high) == ("string", None, None)


@pytest.mark.parametrize("part", ["dev", "test"])
def test_any_prefix_is_balanced(part):
    first = world.load_benchmark_questions(part)[:400]
    by_language = Counter(question.language for question in first)
    by_attribute = Counter(question.attribute for question in first)
    by_entity = Counter(question.entity_id for question in first if question.split == "unseen_entity")
    assert set(by_language.values()) == {80} and len(by_language) == 5
    assert set(by_attribute.values()) == {50} and len(by_attribute) == 8
    assert len(by_entity) > 30 and max(by_entity.values()) < 25
    assert {question.split for question in first} == {"unseen_entity", "unseen_question"}
    cells = Counter((question.attribute, question.language) for question in first[:60])
    assert len(cells) == 40 and max(cells.values()) == 2


@pytest.mark.parametrize("language", world.LANGUAGES)
def test_templates_are_whole_and_their_labels_are_in_the_right_script(language):
    words = world.read_templates()[language]
    for attribute in world.ATTRIBUTES:
        assert words["sentence"][attribute].count("{value}") == 1
        assert len(set(words["question"][attribute])) == 3
        for text in words["question"][attribute]:
            assert "{" not in text
            first_letter = next(letter for letter in text if letter.isalpha())
            assert unicodedata.name(first_letter).startswith(SCRIPTS[language])


def test_no_value_holds_the_separator_of_its_list():
    for country in world.load_countries():
        for language in world.LANGUAGES:
            separator = world.read_templates()[language]["list_separator"]
            for attribute in world.ATTRIBUTES:
                assert all(separator not in value for value in world.read_value(country, attribute, language))


def test_an_item_begins_with_the_name_is_one_short_line_and_leaves_out_missing_facts():
    norway = next(country for country in world.load_countries() if country.country_id == "NO")
    assert world.write_item_text(norway, "en") == (
        "Country: Norway. Capital: Oslo. Currency: Norwegian Krone. Languages: Norwegian, Norwegian Bokmål. "
        "Region: Northern Europe. Neighbours: Finland, Russia, Sweden. Calling code: +47. Area: 324220 km²."
    )
    for item in world.load_knowledge_items():
        assert "\n" not in item.text and ".." not in item.text and len(item.text) < 320
    iceland = next(country for country in world.load_countries() if country.country_id == "IS")
    assert "Vecinos" not in world.write_item_text(iceland, "es")


def test_an_imaginary_country_is_written_in_the_order_asked_for():
    facts = {"capital": ["Oslo"], "language": ["法语", "中文"], "name": ["乌有国"]}
    assert world.write_facts(facts, "zh") == "国家：乌有国。首都：Oslo。语言：法语、中文。"
    assert world.write_facts(facts, "zh", ["language", "name"]) == "语言：法语、中文。国家：乌有国。"


def test_the_vocabulary_holds_every_answer():
    vocabulary = world.list_vocabulary()
    for question in every_question():
        kind = question.attribute
        kind = kind if kind in world.LANGUAGE_NEUTRAL else f"{kind}/{question.language}"
        assert set(question.answers) <= set(vocabulary[str(kind)])
    assert all(len(set(values)) == len(values) for values in vocabulary.values())


def test_a_mistake_names_what_is_allowed():
    norway = next(country for country in world.load_countries() if country.country_id == "NO")
    with pytest.raises(ValueError, match=r"unknown part 'train'; expected one of dev, test"):
        world.load_benchmark_questions("train")
    with pytest.raises(ValueError, match=r"unknown language 'de'; expected one of en, es, ru, zh, ar"):
        world.write_item_text(norway, "de")
    with pytest.raises(ValueError, match=r"unknown attribute 'anthem'; expected one of name, capital"):
        world.read_value(norway, "anthem", "en")


def test_every_source_is_credited_and_permissive():
    recorded = json.loads((world.DATA / "SOURCES.json").read_text())["sources"]
    licences = (world.DATA / "LICENCES.md").read_text()
    assert [source["package"] for source in recorded] == [source.package for source in SOURCES]
    for source in recorded:
        assert source["licence"] in {"MIT", "Unicode-3.0", "CC-BY-4.0"}
        assert source["version"] and source["attribution"] and source["gives"]
        assert source["package"] in licences and source["version"] in licences
    pinned = json.loads((Path(world.__file__).parent / "package.json").read_text())["dependencies"]
    assert pinned == {source.package: source.version for source in SOURCES if source.registry == "npm"}
    for style in world.STYLES:
        assert any(source.package.removeprefix("@iconify-json/") == style for source in SOURCES)
    item = world.load_knowledge_items()[0]
    assert item.licence == "CC-BY-4.0 AND MIT AND Unicode-3.0" and item.source


def test_the_shipped_files_stay_below_ten_megabytes():
    assert sum(path.stat().st_size for path in world.DATA.iterdir()) < 10_000_000
