"""Questions answered with a bank: which items are shown, that the answer is the reader's, and what is refused."""

from dataclasses import replace

import pytest

from comem_core.backbone.decoding import Decoding
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder

Items = tuple[KnowledgeItem, ...]
Questions = tuple[Question, ...]


@pytest.fixture(scope="module")
def bank(encoder: MemoryEncoder, items: Items) -> Bank:
    return encoder.encode(items)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_the_k_items_nearest_by_picture_are_shown_and_named(
    encoder: MemoryEncoder, bank: Bank, questions: Questions, batch_size: int
):
    answers = encoder.answer(iter(questions), bank, k=2, same_language=False, max_new_tokens=4, batch_size=batch_size)
    hits = encoder.search(questions, bank, k=2, same_language=False)
    assert [each.question_id for each in answers] == [question.question_id for question in questions]
    for answer, hit, question in zip(answers, hits, questions, strict=True):
        assert (answer.item_ids, answer.scores) == (hit.item_ids, pytest.approx(hit.scores))
        assert answer.memory_vectors == 16
        conversation = encoder.prompts.make_conversation(question.question, question.image, question.language)
        [said] = encoder.answer_batch([conversation], [bank.of(hit.item_ids)], max_new_tokens=4)
        assert (answer.text, answer.prompt_tokens) == (said.text, said.prompt_tokens)
        assert (answer.answer_tokens, answer.truncated) == (said.answer_tokens, said.truncated)


def test_given_items_are_shown_in_the_order_given(encoder: MemoryEncoder, bank: Bank, questions: Questions):
    a, b, c = list(bank)[:3]
    shown = [(a, b), (b, a), (c,), ()]
    answers = encoder.answer([questions[0]] * 4, bank, item_ids=shown, max_new_tokens=8, batch_size=3)
    assert [answer.item_ids for answer in answers] == shown
    assert [answer.scores for answer in answers] == [()] * 4
    assert [answer.memory_vectors for answer in answers] == [16, 16, 8, 0]
    assert len({answer.text for answer in answers}) == 4  # order and number reach the reader
    conversation = encoder.prompts.make_conversation(questions[0].question, questions[0].image, questions[0].language)
    assert answers[3].text == encoder.backbone.answer([conversation], max_new_tokens=8)[0].text


def test_items_of_the_questions_language_are_shown_unless_all_are_asked_for(
    encoder: MemoryEncoder, bank: Bank, items: Items, questions: Questions
):
    languages = {item.item_id: item.language for item in items}
    spoken = [question for question in questions if question.language in languages.values()]
    for answer, question in zip(encoder.answer(spoken, bank, k=6, max_new_tokens=1), spoken, strict=True):
        assert {languages[item_id] for item_id in answer.item_ids} == {question.language}
    [everything] = encoder.answer(spoken[:1], bank, k=6, same_language=False, max_new_tokens=1)
    assert len(everything.item_ids) == 6


def test_answers_can_be_drawn_and_a_draw_does_not_depend_on_its_batch(
    encoder: MemoryEncoder, bank: Bank, questions: Questions
):
    drawn = Decoding(temperature=1.5, seed=3)
    ids = [list(bank)[:2]] * 3
    together = encoder.answer(questions[:3], bank, item_ids=ids, max_new_tokens=6, decoding=drawn)
    alone = encoder.answer(questions[:3], bank, item_ids=ids, max_new_tokens=6, decoding=drawn, batch_size=1)
    greedy = encoder.answer(questions[:3], bank, item_ids=ids, max_new_tokens=6)
    assert together == alone != greedy


def test_an_answer_ends_where_the_encoders_prompts_or_the_request_say_so(
    encoder: MemoryEncoder, bank: Bank, questions: Questions, monkeypatch: pytest.MonkeyPatch
):
    ids = [list(bank)[:2]] * 3
    whole = encoder.answer(questions[:3], bank, item_ids=ids, max_new_tokens=8)
    end = whole[0].text[len(whole[0].text) // 2 :][:2]
    asked = encoder.answer(questions[:3], bank, item_ids=ids, max_new_tokens=8, decoding=Decoding(stop=(end,)))
    assert asked[0].text == whole[0].text.partition(end)[0].strip() and not asked[0].truncated
    assert asked[0].answer_tokens < whole[0].answer_tokens
    monkeypatch.setattr(encoder, "prompts", replace(encoder.prompts, stop=(end,)))
    assert encoder.answer(questions[:3], bank, item_ids=ids, max_new_tokens=8) == asked


def test_a_question_needs_no_gold_answer(encoder: MemoryEncoder, bank: Bank, questions: Questions):
    bare = [
        Question(question_id=each.question_id, question=each.question, image=each.image, language=each.language)
        for each in questions[:2]
    ]
    assert encoder.answer(bare, bank, k=2) == encoder.answer(questions[:2], bank, k=2)


def test_what_is_not_a_list_of_questions_is_refused_with_what_was_expected(
    encoder: MemoryEncoder, bank: Bank, questions: Questions
):
    for given, said in (
        ("Who?", "found the str 'Who.'"),
        (questions[0], "found one Question"),
        ([1], "entry 0 is a int"),
    ):
        with pytest.raises(ValueError, match=f"{said}.*expected a list, or any iterable, of Question"):
            encoder.answer(given, bank, k=2)  # pyright: ignore[reportArgumentType]


def test_what_cannot_be_answered_is_refused_before_any_work(encoder: MemoryEncoder, bank: Bank, questions: Questions):
    asked = questions[:2]
    for wrong in ({}, {"k": 2, "item_ids": [[], []]}):
        with pytest.raises(ValueError, match=r"how many items to find \(k=\.\.\.\) or which ones to show"):
            encoder.answer(asked, bank, **wrong)
    with pytest.raises(ValueError, match="1 lists of item ids for 2 questions"):
        encoder.answer(asked, bank, item_ids=[[]])
    with pytest.raises(ValueError, match="k is the number of items to find, at least 1; found 0"):
        encoder.answer(asked, bank, k=0)
    with pytest.raises(KeyError, match="1 of 1 items are not in this bank, first nowhere"):
        encoder.answer(asked[:1], bank, item_ids=[["nowhere"]])
    with pytest.raises(ValueError, match="holds vectors of encoder stranger"):
        encoder.answer(asked, Bank(encoder_id="stranger", num_vectors=8, width=64), k=1)
