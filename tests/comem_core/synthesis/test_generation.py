"""The VLM at work on real questions: which rows it writes, and that a batch changes nothing."""

import json
from dataclasses import replace
from typing import Any

import pytest

from comem_core.backbone.conversation import Generated
from comem_core.backbone.images import VisualTokens
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.evaluation.answers import extract_answer
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.prompts import hash_prompt, read_prompt_set
from comem_core.synthesis.generation import FurtherAnswers, QuestionWithItems, answer_again, ask_about, draft_answers
from comem_core.synthesis.pairs import UNPARSABLE
from comem_core.synthesis.served import ServedModel

PROMPTS = read_prompt_set("short")
COLUMNS = {
    "sample_id", "question_id", "mode", "language", "question", "image_id", "answer", "item_ids", "retrieval_scores",
    "prompt_hash", "seed", "prompt_tokens", "answer_tokens", "truncated", "seconds", "model", "answer_raw", "error",
    "translated_from",
}  # fmt: skip


@pytest.fixture(scope="module")
def asked(items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> list[QuestionWithItems]:
    return [
        QuestionWithItems(
            question=question, items=items[: place % 4], scores=tuple(0.9 - rank / 10 for rank in range(place % 4))
        )
        for place, question in enumerate(questions)
    ]


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_draft_row_says_what_was_asked_shown_and_answered(backbone: QwenVL, asked: list[QuestionWithItems]):
    rows = draft_answers(backbone, asked, PROMPTS, max_new_tokens=5, seed=7)
    for row, each in zip(rows, asked, strict=True):
        question = each.question
        assert set(row) == COLUMNS
        conversation = PROMPTS.make_conversation(question.question, question.image, question.language, items=each.items)
        [generated] = backbone.answer([conversation], max_new_tokens=5)
        assert row["answer"] == extract_answer(generated.text)
        assert (row["prompt_tokens"], row["answer_tokens"]) == (generated.prompt_tokens, generated.answer_tokens)
        assert row["prompt_hash"] == hash_prompt(conversation)
        assert row["item_ids"] == [item.item_id for item in each.items]
        assert row["retrieval_scores"] == list(each.scores)
        assert (row["mode"], row["seed"], row["model"]) == ("answer", 7, "tiny")
        assert row["image_id"] == question.image_id
        assert row["seconds"] > 0
    assert len({row["sample_id"] for row in rows}) == len(rows)


def test_a_draft_depends_on_its_prompt_and_not_on_its_batch(backbone: QwenVL, asked: list[QuestionWithItems]):
    together = timeless(draft_answers(backbone, asked, PROMPTS, max_new_tokens=5, seed=0))
    alone = [timeless(draft_answers(backbone, [each], PROMPTS, max_new_tokens=5, seed=0))[0] for each in asked]
    assert together == alone


def test_a_sample_is_named_by_question_prompt_and_seed(backbone: QwenVL, asked: list[QuestionWithItems]):
    [row] = draft_answers(backbone, asked[1:2], PROMPTS, max_new_tokens=1, seed=0)
    [same] = draft_answers(backbone, asked[1:2], PROMPTS, max_new_tokens=2, seed=0)
    [reseeded] = draft_answers(backbone, asked[1:2], PROMPTS, max_new_tokens=1, seed=1)
    bare = QuestionWithItems(question=asked[1].question, items=(), scores=())
    [without] = draft_answers(backbone, [bare], PROMPTS, max_new_tokens=1, seed=0)
    assert row["sample_id"] == same["sample_id"]
    assert len({row["sample_id"], reseeded["sample_id"], without["sample_id"]}) == 3


def test_a_question_is_asked_about_each_item_in_its_language_and_about_its_picture(
    backbone: QwenVL, items: tuple[KnowledgeItem, ...]
):
    requests = [(items[0], "capital"), (items[0], "area"), (items[1], "name")]
    written = ask_about(backbone, requests, PROMPTS, max_new_tokens=6)
    asked = [each.make_question(item) for each, (item, _) in zip(written, requests, strict=True)]
    for each, question, (item, kind) in zip(written, asked, requests, strict=True):
        assert (question.image, question.language, question.entity_id) == (item.image, item.language, item.entity_id)
        assert (question.attribute, question.gold_item_id, question.origin) == (kind, item.item_id, "asked")
        assert question.answers == ()
        conversation = [
            PROMPTS.make_system_turn(),
            PROMPTS.make_item_turn(item),
            PROMPTS.make_ask_turn(kind, item.language),
        ]
        [generated] = backbone.answer([conversation], max_new_tokens=6)
        assert question.question == each.question == extract_answer(generated.text)
        assert (each.raw, each.error, each.answer) == (generated.text, None, "")
        assert (each.prompt_tokens, each.answer_tokens) == (generated.prompt_tokens, generated.answer_tokens)
    assert len({question.question_id for question in asked}) == 3
    [again] = ask_about(backbone, requests[:1], PROMPTS, max_new_tokens=6)
    assert again.make_question(items[0]) == asked[0]


def test_a_draft_of_an_asked_question_says_so(backbone: QwenVL, items: tuple[KnowledgeItem, ...]):
    [written] = ask_about(backbone, [(items[0], "capital")], PROMPTS, max_new_tokens=3)
    question = written.make_question(items[0])
    [row] = draft_answers(
        backbone,
        [QuestionWithItems(question=question, items=items[:1], scores=(1.0,))],
        PROMPTS,
        max_new_tokens=2,
        seed=0,
    )
    assert row["mode"] == "ask"


def test_an_answer_is_given_again_without_items_and_for_asked_questions_with_the_items_reversed(
    backbone: QwenVL, asked: list[QuestionWithItems]
):
    mixed = [
        replace(each, question=replace(each.question, origin="asked" if place % 2 else "seed"))
        for place, each in enumerate(asked)
    ]

    def answered(question: Question, items: tuple[KnowledgeItem, ...]) -> Generated:
        conversation = PROMPTS.make_conversation(question.question, question.image, question.language, items=items)
        return backbone.answer([conversation], max_new_tokens=5)[0]

    for again, each in zip(answer_again(backbone, mixed, PROMPTS, max_new_tokens=5), mixed, strict=True):
        orders = [(), each.items[::-1]] if each.question.origin == "asked" else [()]
        expected = [answered(each.question, items) for items in orders]
        assert again == FurtherAnswers(
            without=extract_answer(expected[0].text),
            second=extract_answer(expected[1].text) if len(expected) > 1 else None,
            prompt_tokens=sum(answer.prompt_tokens for answer in expected),
            answer_tokens=sum(answer.answer_tokens for answer in expected),
            seconds=again.seconds,
            error=None,
        )
        assert again.seconds > 0
    for part in (mixed[::2], mixed[1::2]):
        assert len(answer_again(backbone, part, PROMPTS, max_new_tokens=1)) == len(part)


def test_a_cap_on_pictures_shortens_the_prompt(backbone: QwenVL, asked: list[QuestionWithItems]):
    [wide] = draft_answers(backbone, asked[:1], PROMPTS, max_new_tokens=1, seed=0)
    [narrow] = draft_answers(backbone, asked[:1], PROMPTS, max_new_tokens=1, seed=0, visual_tokens=VisualTokens(max=2))
    assert narrow["prompt_tokens"] < wide["prompt_tokens"]
    assert narrow["prompt_hash"] == wide["prompt_hash"]


def choice(finish: str = "stop", **message: Any) -> str:
    return json.dumps([{"finish_reason": finish, "message": message}])


WRITTEN = {
    choice(content="<think>\nQuito? Answer: Quito\n</think>\n\nLima"): ("Lima", None),
    choice(content="The page says Lima.</think>**Answer:** Lima"): ("Lima", None),
    choice(content=r"\boxed{\text{Lima}}"): ("Lima", None),
    choice(content=[{"type": "text", "text": "```\nLima\n```"}]): ("Lima", None),
    choice(content="I'm sorry, but I can't help with that."): ("", "refused"),
    choice(content="<think>May I?</think>Lo siento, pero no puedo ayudar con eso."): ("", "refused"),
    choice("length", content=None, reasoning_content="Is it"): ("", "the token limit ended the model's thinking"),
    choice("length", content="<think>Is it"): ("", None),  # and it is truncated
    "[]": ("", "not a chat completion"),
}


def test_what_a_served_model_writes_is_read_reply_by_reply_or_has_its_reason(
    server: str, items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]
):
    model = ServedModel("script", url=f"{server}/v1", key="right-key", max_retries=0)
    posed = [QuestionWithItems(question=replace(questions[0], question=said), items=(), scores=()) for said in WRITTEN]
    rows = draft_answers(model, posed, PROMPTS, max_new_tokens=8, seed=0)
    for row, (answer, reason) in zip(rows, WRITTEN.values(), strict=True):
        assert row["answer"] == answer, row
        assert (row["error"] is None) if reason is None else (reason in row["error"]), row
    assert [row["truncated"] for row in rows].count(True) == 2


def test_a_served_models_questions_are_read_reply_by_reply_or_have_their_reason(
    server: str, items: tuple[KnowledgeItem, ...]
):
    told = {
        choice(content="<think>Question: Quito?</think>**Question:** Which city?\nAnswer: Lima"): ("Which city?", None),
        choice(content="Here is one:\n\nWhich city?"): ("Which city?", None),
        choice(content="I am sorry, but I cannot see the picture."): ("", "refused"),
        choice(content="<think>Which city?"): ("", UNPARSABLE),
        choice(content=""): ("", UNPARSABLE),
        choice(content=None): ("", "the reply has no text"),
    }
    model = ServedModel("script", url=f"{server}/v1", key="right-key", max_retries=0)
    requests = [(replace(items[0], text=said), "capital") for said in told]
    written = ask_about(model, requests, PROMPTS, max_new_tokens=8)
    assert [(each.question, each.error) for each in written] == [*told.values()]
