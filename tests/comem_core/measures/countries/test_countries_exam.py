"""What an examined question is shown, and that its answer is its own."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from comem_core.knowledge.items import Question
from comem_core.measures.countries.exam import DEEPEST, CountriesExam, encode_all
from comem_core.memory.encoder import MemoryEncoder


def missed(exam: CountriesExam, k: int) -> list[Question]:
    """The questions whose gold item is not among the first k retrieved."""
    return [q for q in exam.questions if q.gold_item_id not in exam.retrieved[q.question_id][:k]]


def test_retrieved_items_are_different_ones_in_the_language_of_the_question(exam: CountriesExam):
    for question in exam.questions:
        found = exam.retrieved[question.question_id]
        assert len(set(found)) == len(found) == DEEPEST
        assert {exam.items[each].language for each in found} == {question.language}


def test_plain_retrieval_shows_no_gold_item_that_it_has_not_found(exam: CountriesExam):
    shown = {question.question_id: exam.choose_as_retrieved(question, 1) for question in exam.questions}
    assert all(shown[q.question_id] == [exam.retrieved[q.question_id][0]] for q in exam.questions)
    assert any(q.gold_item_id not in shown[q.question_id] for q in exam.questions)


@pytest.mark.parametrize("k", [1, 2, 3, 8, DEEPEST])
def test_the_gold_item_is_always_shown_and_the_others_keep_their_rank(exam: CountriesExam, k: int):
    for question in exam.questions:
        shown, found = exam.choose_with_gold(question, k), list(exam.retrieved[question.question_id])
        assert len(set(shown)) == len(shown) == k
        assert question.gold_item_id in shown
        assert shown == found[:k] or shown == [*found[: k - 1], question.gold_item_id]
    assert missed(exam, 1)  # else nothing was put in
    assert len(missed(exam, 1)) < len(exam.questions)  # else nothing was found


def test_any_order_is_a_permutation_that_a_question_keeps_and_that_is_not_the_rank(exam: CountriesExam):
    ranked = [exam.choose_with_gold(question, 8) for question in exam.questions]
    drawn = [exam.choose_with_gold_anywhere(question, 8) for question in exam.questions]
    assert [sorted(each) for each in drawn] == [sorted(each) for each in ranked]
    assert [exam.choose_with_gold_anywhere(question, 8) for question in exam.questions] == drawn
    places = {each.index(q.gold_item_id or "") for q, each in zip(exam.questions, drawn, strict=True)}
    assert len(places) > 3 and sum(one != other for one, other in zip(drawn, ranked, strict=True)) > 15


def test_drawn_others_are_of_the_same_language_with_the_gold_item_anywhere_among_them(exam: CountriesExam):
    places = set()
    for question in exam.questions:
        shown = exam.choose_gold_among_others(question, 3)
        assert len(set(shown)) == 3
        assert {exam.items[each].language for each in shown} == {question.language}
        places.add(shown.index(question.gold_item_id or ""))
    assert places == {0, 1, 2}
    assert len({tuple(exam.choose_gold_among_others(question, 3)) for question in exam.questions}) == len(
        exam.questions
    )


@pytest.mark.parametrize("control", ["shuffled", "foreign"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_control_shows_as_many_items_and_none_that_is_about_the_question(exam: CountriesExam, control: str, k: int):
    all_items = {**exam.items, **exam.foreign}
    for question in exam.questions:
        shown = exam.choose_for_control(control, question, k)
        assert len(set(shown)) == k
        assert question.gold_item_id not in shown
        assert question.entity_id not in {all_items[each].entity_id for each in shown}
        assert all((each in exam.foreign) == (control == "foreign") for each in shown)


def test_an_item_states_an_answer_that_its_country_shares(exam: CountriesExam):
    for question in exam.questions:
        gold = exam.items[question.gold_item_id or ""]
        assert exam.has_answer(question, [gold.item_id])
        others = [item_id for item_id, item in exam.items.items() if item.language == question.language]
        others.remove(gold.item_id)
        stating = [item_id for item_id in others if exam.has_answer(question, [item_id])]
        assert all(any(answer in exam.items[item_id].text for answer in question.answers) for item_id in stating)
        assert len(stating) > 5 or question.attribute != "region"
        assert not (stating and question.attribute in ("name", "capital"))


def test_foreign_items_are_of_no_real_country(exam: CountriesExam):
    assert not set(exam.foreign) & set(exam.items)
    assert {item.language for item in exam.foreign.values()} == {"en", "es", "ru", "zh", "ar"}
    texts = {item.text for item in exam.items.values()}
    assert not texts & {item.text for item in exam.foreign.values()}


def test_an_answer_depends_neither_on_the_batch_nor_on_the_order_of_questions(
    exam: CountriesExam, shipped_encoder: MemoryEncoder
):
    few, many = replace(exam, batch_size=3), replace(exam, batch_size=20)
    backwards = replace(exam, questions=exam.questions[::-1])
    gold = partial(exam.choose_with_gold, k=1)
    memories = encode_all(shipped_encoder, {shown: exam.items[shown] for q in exam.questions for shown in gold(q)})
    asked = [
        (
            each.ask_prompt(shipped_encoder, gold, label="text"),
            each.ask_memory(shipped_encoder, memories, gold, label=""),
        )
        for each in (few, many, backwards)
    ]
    for text, memory in asked[1:]:
        turn = -1 if text is asked[2][0] else 1
        assert text.right_Q[::turn].tolist() == asked[0][0].right_Q.tolist()
        assert memory.right_Q[::turn].tolist() == asked[0][1].right_Q.tolist()
        assert text.prompt_tokens == pytest.approx(asked[0][0].prompt_tokens)
    assert asked[0][0].right_Q.mean() > 0  # all wrong would be equal too
    assert asked[0][0].prompt_tokens > asked[0][1].prompt_tokens + 20  # the item's tokens


def test_right_is_strictly_the_gold_answer_in_the_order_of_the_questions(
    exam: CountriesExam, shipped_encoder: MemoryEncoder
):
    """Half of the questions are given answers that nobody gives: they are wrong, and the others are as before."""
    gold = partial(exam.choose_with_gold, k=1)
    asked = exam.ask_prompt(shipped_encoder, gold, label="text")
    other = [
        question if place % 2 else replace(question, answers=("no such answer",))
        for place, question in enumerate(exam.questions)
    ]
    again = replace(exam, questions=other).ask_prompt(shipped_encoder, gold, label="text")
    assert again.right_Q[::2].sum() == 0
    assert np.array_equal(again.right_Q[1::2], asked.right_Q[1::2]) and asked.right_Q[1::2].sum() > 0


def test_every_item_has_its_own_memory_whatever_the_batch(exam: CountriesExam, shipped_encoder: MemoryEncoder):
    chosen: Sequence[str] = list(exam.items)[:7]
    items = {item_id: exam.items[item_id] for item_id in chosen}
    one, other = (encode_all(shipped_encoder, items, batch_size=size) for size in (2, 7))
    assert list(one) == chosen
    for item_id in chosen:
        assert one[item_id].shape == (shipped_encoder.recipe.num_vectors, shipped_encoder.backbone.width)
        torch.testing.assert_close(one[item_id], other[item_id], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(
            one[item_id], shipped_encoder.encode_batch([items[item_id]])[0], atol=1e-4, rtol=1e-4
        )
