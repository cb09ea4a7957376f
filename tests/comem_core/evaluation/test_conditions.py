"""Which items each condition shows, on the questions of a small imaginary atlas."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.evaluation.conditions import CONDITIONS, AskedQuestion, ItemChooser, ShowableItems, find_condition
from comem_core.knowledge.items import Question

LANGUAGES = ("en", "ar")
ENTITIES = tuple("ABCDEF")
QUESTIONS = [
    AskedQuestion(
        question_id=f"{entity}/{attribute}/{language}",
        language=language,
        image_id=f"flag of {entity}",
        entity_id=entity,
        gold_item_id=f"{entity}-{language}",
    )
    for entity in ENTITIES
    for attribute in ("capital", "area")
    for language in LANGUAGES
]
ENTITY_OF = {f"{entity}-{language}": entity for entity in ENTITIES for language in LANGUAGES}
# As a real retriever: the gold item first, then the items of the next entities in the same language.
RETRIEVED = {
    question.question_id: [
        f"{ENTITIES[(ENTITIES.index(question.entity_id or '') + step) % 6]}-{question.language}" for step in range(3)
    ]
    for question in QUESTIONS
}
SHOWN = ShowableItems(retrieved=RETRIEVED, entity_of=ENTITY_OF, foreign=[f"apple {number}" for number in range(10)])


def test_every_condition_of_the_design_is_there_with_a_sentence():
    assert set(CONDITIONS) == {"none", "text", "memory", "gated", "shuffled", "foreign", "empty", "oracle", "text_gold"}
    assert all(condition.meaning.endswith(".") for condition in CONDITIONS.values())
    assert {name for name, condition in CONDITIONS.items() if condition.place == "prompt"} == {"text", "text_gold"}
    assert [name for name, condition in CONDITIONS.items() if condition.learned_nothing] == ["empty"]


def test_retrieved_items_are_shown_in_rank_order():
    chooser = ItemChooser(QUESTIONS, SHOWN)
    assert chooser.choose_items("memory", "A/area/en", k=2) == ("A-en", "B-en")
    assert chooser.choose_items("text", "A/area/en", k=3) == ("A-en", "B-en", "C-en")
    assert chooser.choose_items("memory", "A/area/en", k=9) == ("A-en", "B-en", "C-en")  # no more were retrieved


def test_none_and_empty_show_nothing_and_oracle_the_gold_item_alone():
    chooser = ItemChooser(QUESTIONS, SHOWN)
    assert chooser.choose_items("none", "A/area/en", k=3) == chooser.choose_items("empty", "A/area/en", k=3) == ()
    assert (
        chooser.choose_items("oracle", "C/area/ar", k=3)
        == chooser.choose_items("text_gold", "C/area/ar", k=3)
        == ("C-ar",)
    )


def test_shuffled_items_are_as_many_about_other_entities_and_in_the_same_language():
    chooser = ItemChooser(QUESTIONS, SHOWN)
    for question in QUESTIONS:
        shuffled = chooser.choose_items("shuffled", question.question_id, k=3)
        assert len(set(shuffled)) == 3
        assert not set(shuffled) & set(RETRIEVED[question.question_id])
        assert question.entity_id not in {ENTITY_OF[item_id] for item_id in shuffled}
        assert {item_id.split("-")[1] for item_id in shuffled} == {question.language}


def test_shuffled_items_are_never_about_the_entity_asked_about_though_another_question_found_them():
    asked, other = (
        AskedQuestion(question_id=entity, language="en", image_id=entity, entity_id=entity) for entity in "AB"
    )
    retrieved = {"A": ["A in English"], "B": ["A in Arabic", "A on a stamp", "B in English"]}
    about = {"A in English": "A", "A in Arabic": "A", "A on a stamp": "A", "B in English": "B"}
    chooser = ItemChooser([asked, other], ShowableItems(retrieved=retrieved, entity_of=about))
    assert chooser.choose_items("shuffled", "A", k=1) == ("B in English",)


def test_with_one_item_each_question_lends_to_exactly_one_other():
    retrieved = {question.question_id: [f"item of {question.question_id}"] for question in QUESTIONS}
    chooser = ItemChooser(QUESTIONS, ShowableItems(retrieved=retrieved))
    lent = [chooser.choose_items("shuffled", question.question_id, k=1)[0] for question in QUESTIONS]
    assert sorted(lent) == sorted(items[0] for items in retrieved.values())


@settings(max_examples=30, deadline=None)
@given(st.randoms())
def test_neither_order_nor_batch_changes_what_a_question_is_shown(generator: random.Random):
    shuffled_questions = QUESTIONS.copy()
    generator.shuffle(shuffled_questions)
    expected, found = ItemChooser(QUESTIONS, SHOWN), ItemChooser(shuffled_questions, SHOWN)
    for question in generator.sample(QUESTIONS, 5):
        for condition in ("shuffled", "foreign"):
            assert found.choose_items(condition, question.question_id, k=2) == expected.choose_items(
                condition, question.question_id, k=2
            )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("ABCDE"), min_size=2, max_size=20).filter(lambda entities: len(set(entities)) > 1))
def test_however_entities_are_spread_no_question_gets_its_own(entities: list[str]):
    questions = [
        AskedQuestion(question_id=f"{entity} {number}", language="en", image_id=str(number), entity_id=entity)
        for number, entity in enumerate(entities)
    ]
    retrieved = {question.question_id: [f"{question.entity_id} item"] for question in questions}
    chooser = ItemChooser(questions, ShowableItems(retrieved=retrieved))
    for question in questions:
        assert chooser.choose_items("shuffled", question.question_id, k=1)[0] != f"{question.entity_id} item"


def test_a_language_with_one_entity_borrows_from_another_language():
    questions = [
        AskedQuestion(question_id=f"{entity}/{language}", language=language, image_id=entity, entity_id=entity)
        for entity, language in (("A", "en"), ("B", "en"), ("C", "zh"))
    ]
    retrieved = {question.question_id: [f"item {question.question_id}"] for question in questions}
    chooser = ItemChooser(questions, ShowableItems(retrieved=retrieved))
    assert chooser.choose_items("shuffled", "A/en", k=1) == ("item B/en",)
    assert chooser.choose_items("shuffled", "C/zh", k=1)[0] in ("item A/en", "item B/en")


def test_foreign_items_come_from_the_other_corpus_and_differ_between_questions():
    chooser = ItemChooser(QUESTIONS, SHOWN)
    chosen = [chooser.choose_items("foreign", question.question_id, k=2) for question in QUESTIONS]
    assert {item_id for items in chosen for item_id in items} <= set(SHOWN.foreign)
    assert all(len(set(items)) == 2 for items in chosen)
    assert len(set(chosen)) > 3


def test_a_question_of_the_library_is_asked_as_it_is():
    question = Question(
        question_id="q", question="?", image=b"flag", language="en", answers=("x",), gold_item_id="gold"
    )
    assert ItemChooser([question], ShowableItems()).choose_items("oracle", "q", k=1) == ("gold",)


@pytest.mark.parametrize(
    ("condition", "question_id", "k", "message"),
    [
        ("rag", "A/area/en", 1, "unknown condition: 'rag'; allowed are none, text, memory"),
        ("memory", "Z", 1, "'Z' is not among the 24 questions"),
        ("memory", "A/area/en", 0, "at least 1; found 0"),
        ("foreign", "A/area/en", 11, "at least 11 foreign items; found 10"),
    ],
)
def test_what_cannot_be_shown_is_named(condition: str, question_id: str, k: int, message: str):
    with pytest.raises(ValueError, match=message):
        ItemChooser(QUESTIONS, SHOWN).choose_items(condition, question_id, k=k)


def test_missing_gold_missing_retrieval_and_missing_others_are_named():
    alone = AskedQuestion(question_id="q", language="en", image_id="i")
    with pytest.raises(ValueError, match="has no gold item"):
        ItemChooser([alone], ShowableItems()).choose_items("oracle", "q", k=1)
    with pytest.raises(ValueError, match="has no retrieved items"):
        ItemChooser([alone], ShowableItems()).choose_items("memory", "q", k=1)
    with pytest.raises(ValueError, match="only 0 of 1 items"):
        ItemChooser([alone], ShowableItems(retrieved={"q": ["a"]})).choose_items("shuffled", "q", k=1)
    with pytest.raises(ValueError, match="allowed are none"):
        find_condition("best")
