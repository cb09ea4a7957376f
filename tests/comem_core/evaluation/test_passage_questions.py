"""Questions with the one passage that answers each: what the passage says, and what the control shows instead."""

import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from comem_core.evaluation.passage_questions import (
    choose_others,
    make_country_cases,
    make_short_cases,
    read_grocery_cases,
)
from comem_core.worlds.countries.world import load_countries, write_item_text

GROCERY = Path(__file__).parents[4] / "shared" / "fixtures" / "grocery"
needs_grocery = pytest.mark.skipif(not GROCERY.is_dir(), reason="the grocery photos do not ship with the project")


def test_full_passages_are_the_knowledge_items_of_countries_that_no_training_passage_is_about_or_of_held_out_facts():
    countries = {country.country_id: country for country in load_countries()}
    cases = make_country_cases("test")
    assert len(cases) > 400
    for case in cases:
        country = countries[case.question.entity_id or ""]
        assert case.item.text == write_item_text(country, "en")
        assert case.question.split == ("unseen_entity" if country.split == "test" else "unseen_question")
        assert case.score(case.question.answers[0]) == 1.0


def test_a_short_passage_has_the_asked_fact_and_one_other_in_the_usual_order():
    for full, short in zip(make_country_cases("dev"), make_short_cases("dev"), strict=True):
        assert short.question == full.question
        labels = re.findall(r"(\w+): ", short.item.text)
        assert len(labels) == 2
        assert labels == [label for label in re.findall(r"(\w+): ", full.item.text) if label in labels]
        assert full.question.answers[0] in short.item.text


def test_a_prefix_of_the_questions_is_balanced_by_kind():
    counts = Counter(case.kind for case in make_short_cases("test", num_cases=24))
    assert len(counts) == 8
    assert set(counts.values()) == {3}


def test_the_control_shows_another_entity_and_answers_the_same_kind_of_question():
    cases = make_short_cases("dev", num_cases=64)
    sentence_of = {"capital": "Capital:", "area": "Area:", "name": "Country:", "region": "Region:"}
    for case, other in zip(cases, choose_others(cases), strict=True):
        assert other.entity_id != case.item.entity_id
        if case.kind in sentence_of:
            assert sentence_of[case.kind] in other.text
    lent = Counter(item.item_id for item in choose_others(cases))
    assert max(lent.values()) <= 3


def test_a_control_needs_a_second_entity():
    case = make_short_cases("dev", num_cases=1)[0]
    with pytest.raises(ValueError, match=r"too few entities are asked about 'name' .*: found 1, expected 2"):
        choose_others([replace(case, kind="name")] * 2)


def test_groceries_are_asked_for_sugar_and_origin_where_these_are_known(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    for name, red in (("0_0.jpg", 200), ("0_1.jpg", 90)):
        picture = io.BytesIO()
        Image.new("RGB", (20, 20), (red, 30, 0)).save(picture, format="JPEG")
        (tmp_path / "photos" / name).write_bytes(picture.getvalue())
    product = {"class_id": 0, "name": "Red Juice", "category": "Juice", "photos": ["photos/0_0.jpg", "photos/0_1.jpg"]}
    rows = [product | {"facts": {"country": "Sweden", "sugars_g_per_100g": 10.5}}, product | {"facts": {}}]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sugar, origin = read_grocery_cases(tmp_path)
    assert sugar.item.text == "Product: Red Juice. Country of origin: Sweden. Sugar per 100 g: 10.5 g."
    assert (sugar.score("10.5 g"), sugar.score("12"), origin.score("Sweden"), origin.score("Norway")) == (1, 0, 1, 0)
    assert sugar.question.image != sugar.item.image


def test_a_folder_without_groceries_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no items.jsonl: the grocery photos do not ship with the project"):
        read_grocery_cases(tmp_path)


@needs_grocery
def test_the_grocery_fixture_gives_numbers_and_origins():
    counts = Counter(case.kind for case in read_grocery_cases(GROCERY))
    assert counts == {"origin": 61, "sugar": 21}
