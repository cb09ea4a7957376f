"""Imaginary countries: the same seed draws the same, two artists draw one flag, and nothing real is told."""

import io
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image

from comem_core.worlds.countries.world import ATTRIBUTES, LANGUAGES, list_vocabulary, load_countries, read_templates
from comem_core.worlds.imaginary.borrowed import borrow_flag
from comem_core.worlds.imaginary.countries import draw_country, draw_question, draw_rival
from comem_core.worlds.imaginary.flags import PALETTE, draw_artist, draw_design, encode_png, render, vary_design


def colours_of(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.resize((24, 16)), dtype=float)


def distance(first: Image.Image, second: Image.Image) -> float:
    """Mean difference of colour levels (0 .. 255) on a grid of 24 x 16."""
    return float(np.abs(colours_of(first) - colours_of(second)).mean())


def test_the_same_seed_draws_the_same_picture_and_another_seed_another():
    def draw(seed: int) -> bytes:
        random = Random(seed)
        return encode_png(render(draw_design(random), draw_artist(random)))

    assert draw(3) == draw(3)
    assert len({draw(seed) for seed in range(50)}) == 50


def test_a_picture_is_a_valid_png_of_the_height_and_aspect_asked_for():
    for seed in range(40):
        random = Random(seed)
        design, artist = draw_design(random), draw_artist(random)
        raw = encode_png(render(design, artist, height=32))
        assert raw.startswith(b"\x89PNG\r\n\x1a\n")
        Image.open(io.BytesIO(raw)).verify()
        picture = Image.open(io.BytesIO(raw))
        assert (picture.mode, picture.size) == ("RGB", (round(32 * artist.aspect), 32))


def test_two_artists_differ_but_stay_closer_than_two_designs():
    random = Random(0)
    designs = [draw_design(random) for _ in range(80)]
    first = [render(design, draw_artist(random)) for design in designs]
    second = [render(design, draw_artist(random)) for design in designs]
    same = [distance(one, other) for one, other in zip(first, second, strict=True)]
    different = [distance(one, other) for one, other in zip(first, second[1:] + second[:1], strict=True)]
    assert min(same) > 0
    assert np.mean(same) < 0.5 * np.mean(different)
    nearest = [int(np.argmin([distance(one, other) for other in second[:40]])) for one in first[:40]]
    assert np.mean([found == place for place, found in enumerate(nearest)]) > 0.8


def test_every_kind_of_field_and_charge_is_drawn_and_shows():
    random, fields, charges = Random(1), set(), set()
    plain_artist = replace(draw_artist(Random(0)), blur=0.0)
    for _ in range(400):
        design = draw_design(random)
        fields.add(design.field_kind)
        charges |= {charge.kind for charge in design.charges}
        assert all(0 <= colour < len(PALETTE) for colour in design.colours)
        if design.charges:
            bare = replace(design, charges=())
            assert distance(render(design, plain_artist), render(bare, plain_artist)) >= 0
    assert len(fields) == 11
    assert charges == {"star", "disc", "crescent", "triangle", "emblem", "diamond", "stars", "ring", "sun"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_facts_come_from_the_closed_vocabulary_of_their_language(language: str):
    random, words = Random(language), list_vocabulary()
    seen = set()
    for _ in range(60):
        country = draw_country(random, language, num_facts=7)
        assert set(country.facts) == set(ATTRIBUTES)
        for attribute, values in country.facts.items():
            known = words.get(f"{attribute}/{language}") or words[attribute]
            assert set(values) <= set(known)
            assert len(set(values)) == len(values) >= 1
            seen |= {(attribute, value) for value in values}
    assert len(seen) > 60 * 5  # spread over the vocabulary


@pytest.mark.parametrize("num_facts", [1, 4, 7, 20])
def test_a_country_has_its_name_and_as_many_facts_as_asked_for(num_facts: int):
    country = draw_country(Random(0), "en", num_facts=num_facts)
    assert len(country.facts) == 1 + min(num_facts, 7)
    assert "name" in country.facts


def test_nothing_of_a_real_country_is_told_more_often_than_chance_has_it():
    real = {(country.facts["en"]["name"][0], country.facts["en"]["capital"][0]) for country in load_countries()}
    random = Random(0)
    facts = [draw_country(random, "en", num_facts=7).facts for _ in range(1000)]
    assert sum((each["name"][0], each["capital"][0]) in real for each in facts) <= 15  # expected: about 4


def test_an_item_tells_every_fact_in_any_order_and_shows_the_flag():
    country = draw_country(Random(0), "es", num_facts=7)
    items = [country.item(Random(seed)) for seed in range(12)]
    for item in items:
        assert item.language == "es"
        assert all(value in item.text for values in country.facts.values() for value in values)
    assert len({item.text for item in items}) > 6
    assert len({item.image_id for item in items}) == 12
    assert country.item(Random(3)) == country.item(Random(3))


def test_a_question_has_a_wording_of_the_world_and_the_answer_of_the_country():
    country, random = draw_country(Random(0), "ru", num_facts=3), Random(1)
    asked = {draw_question(random, country) for _ in range(200)}
    wordings = {text: kind for kind, texts in read_templates()["ru"]["question"].items() for text in texts}
    assert {wordings[question] for question, _ in asked} == set(country.facts)
    assert all(answer == country.facts[wordings[question]][0] for question, answer in asked)
    assert len(asked) == 3 * 4  # every wording of every fact


def test_a_rival_states_the_same_kinds_of_fact_under_another_flag():
    for seed in range(60):
        random = Random(seed)
        country = draw_country(random, random.choice(LANGUAGES), num_facts=3, borrowed_share=0.5)
        rival = draw_rival(random, country, lookalike=seed % 2 == 0)
        assert list(rival.facts) == list(country.facts)
        assert rival.language == country.language
        assert rival.flag != country.flag or seed % 2  # two may borrow the same flag by chance; a look-alike never
        assert isinstance(rival.flag, type(country.flag))


def test_a_lookalike_is_nearer_than_another_flag():
    artist, random = draw_artist(Random(0)), Random(4)
    near, far = [], []
    for _ in range(60):
        design = draw_design(random)
        near.append(distance(render(design, artist), render(vary_design(random, design), artist)))
        far.append(distance(render(design, artist), render(draw_design(random), artist)))
    assert min(near) > 0
    assert np.mean(near) < 0.6 * np.mean(far)


def test_only_flags_of_train_countries_are_borrowed_and_every_loan_looks_its_own():
    random, train = Random(0), {country.country_id for country in load_countries() if country.split == "train"}
    flags = [borrow_flag(random) for _ in range(300)]
    assert {flag.country_id for flag in flags} <= train
    assert len({flag.country_id for flag in flags}) > 100
    assert {flag.draw_lookalike(random).country_id for flag in flags} <= train
    assert all(flag.draw_lookalike(random) != flag for flag in flags)
    once, again = flags[0].picture(Random(1)), flags[0].picture(Random(1))
    assert encode_png(once) == encode_png(again)
    assert once.height == 48
    for flag in flags[:20]:
        pictures = [flag.picture(random) for _ in range(4)]
        others = [other.picture(random) for other in flags[:20] if other != flag]
        same = np.median([distance(pictures[0], picture) for picture in pictures[1:]])
        assert same < np.median([distance(pictures[0], other) for other in others])
