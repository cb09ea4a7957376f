"""The benchmark that ships: its splits, its gold answers under its own metric, and what it must never leak."""

import shutil
from pathlib import Path

import pytest

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.knowledge.items import Question
from comem_core.worlds.countries import world

BENCHMARK = find_benchmark("countries-vqa")
OFFICIAL = BENCHMARK.metrics(None)[0]


def questions_of(part: str) -> list[Question]:
    return [question for question in BENCHMARK.read(part, None) if isinstance(question, Question)]


@pytest.mark.parametrize("part", BENCHMARK.parts)
def test_every_gold_answer_is_right_and_parsable(part: str):
    questions = questions_of(part)
    assert len(questions) > 1000
    for question in questions:
        for answer in question.answers:
            scored = OFFICIAL.score(answer, question)
            assert (scored.correct, scored.unparsable) == (1.0, False), question.question_id


@pytest.mark.parametrize("part", BENCHMARK.parts)
def test_both_splits_are_asked_in_every_language(part: str):
    asked = {(question.split, question.language) for question in questions_of(part)}
    assert asked == {
        (split, language) for split in ("unseen_question", "unseen_entity") for language in world.LANGUAGES
    }


def test_no_benchmark_question_is_a_seed_and_no_unseen_entity_has_one():
    seeds = world.load_seed_questions()
    seed_entities = {seed.entity_id for seed in seeds}
    seed_pairs = {(seed.entity_id, seed.attribute) for seed in seeds}
    for part in BENCHMARK.parts:
        for question in questions_of(part):
            assert (question.entity_id, question.attribute) not in seed_pairs
            assert (question.entity_id in seed_entities) == (question.split == "unseen_question")


def test_no_question_shows_the_picture_of_an_item():
    items = {item.image_id for item in world.load_knowledge_items()}
    assert not items & {question.image_id for part in BENCHMARK.parts for question in questions_of(part)}


def test_the_revision_changes_with_the_data_and_with_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = tmp_path / "data"
    shutil.copytree(world.DATA, copy)
    monkeypatch.setattr(world, "DATA", copy)
    assert world.name_revision.__wrapped__() == BENCHMARK.revision("test", None)
    with (copy / "templates.json").open("a") as templates:
        templates.write(" ")
    assert world.name_revision.__wrapped__() != BENCHMARK.revision("test", None)


def test_unknown_names_are_answered_with_the_allowed_ones():
    with pytest.raises(ValueError, match="'infoseek2'; allowed are a-okvqa, a-okvqa-mc, countries-vqa"):
        find_benchmark("infoseek2")
    with pytest.raises(ValueError, match="no part 'train'; allowed are dev, test"):
        list(BENCHMARK.read("train", None))
