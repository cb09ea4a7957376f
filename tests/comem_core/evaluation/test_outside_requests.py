"""Requests of other programs: what stands before them under each condition, and what is refused."""

from pathlib import Path

import pytest
import torch

from comem_core.backbone.conversation import Turn
from comem_core.evaluation.outside_requests import ConditionOptions, OutsideAnswerer, OutsideRequest, open_answerer
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder

Items = tuple[KnowledgeItem, ...]
Questions = tuple[Question, ...]


@pytest.fixture(scope="module")
def bank(encoder: MemoryEncoder, items: Items) -> Bank:
    return encoder.encode(items)


@pytest.fixture(scope="module")
def requests(questions: Questions) -> list[OutsideRequest]:
    return [OutsideRequest(name=each.question_id, context=each.question, pictures=(each.image,)) for each in questions]


def every_language(condition: str, *, k: int = 2) -> ConditionOptions:
    return ConditionOptions(condition=condition, k=k, same_language=False)


def test_memory_is_answered_as_the_library_answers(
    encoder: MemoryEncoder, bank: Bank, questions: Questions, requests: list[OutsideRequest]
):
    outside = OutsideAnswerer(encoder, every_language("memory"), bank=bank)
    said = outside.answer_batch(requests, max_new_tokens=8)
    ours = encoder.answer(questions, bank, k=2, same_language=False, max_new_tokens=8)
    assert [(each.text, each.prompt_tokens) for each in said] == [(each.text, each.prompt_tokens) for each in ours]


def test_text_puts_the_items_into_the_prompt(
    encoder: MemoryEncoder, bank: Bank, items: Items, questions: Questions, requests: list[OutsideRequest]
):
    outside = OutsideAnswerer(encoder, every_language("text"), bank=bank, items=items)
    [said] = outside.answer_batch(requests[:1], max_new_tokens=8)
    [hits] = encoder.search(questions[:1], bank, k=2, same_language=False)
    found = [next(item for item in items if item.item_id == item_id) for item_id in hits.item_ids]
    asked = encoder.prompts.make_conversation(questions[0].question, questions[0].image, "en", items=found)
    assert said == encoder.backbone.answer([asked], max_new_tokens=8)[0]


def test_empty_and_none_need_no_bank(encoder: MemoryEncoder, requests: list[OutsideRequest]):
    asked = [[encoder.prompts.make_system_turn(), Turn("user", (*requests[0].pictures, requests[0].context))]]
    [none] = OutsideAnswerer(encoder, ConditionOptions(condition="none")).answer_batch(requests[:1], max_new_tokens=8)
    [empty] = OutsideAnswerer(encoder, ConditionOptions(condition="empty", k=3)).answer_batch(
        requests[:1], max_new_tokens=8
    )
    assert none == encoder.backbone.answer(asked, max_new_tokens=8)[0]
    learned_nothing = encoder.empty_memory().repeat(3, 1)
    assert empty == encoder.answer_batch(asked, [learned_nothing], max_new_tokens=8)[0]


def test_every_picture_of_a_request_is_read_and_the_first_one_finds_the_items(
    encoder: MemoryEncoder, bank: Bank, questions: Questions
):
    one, two = (
        OutsideRequest(name="a", context="which?", pictures=tuple(each.image for each in questions[:n])) for n in (1, 2)
    )
    outside = OutsideAnswerer(encoder, every_language("memory"), bank=bank)
    shorter, longer = outside.answer_batch([one, two], max_new_tokens=1)
    assert longer.prompt_tokens > shorter.prompt_tokens
    swapped = OutsideRequest(name="b", context="which?", pictures=two.pictures[::-1])
    assert outside._find_items([two]) == outside._find_items([one]) != outside._find_items([swapped])


def test_a_request_without_a_picture_is_refused_where_items_are_found_by_one(encoder: MemoryEncoder, bank: Bank):
    blind = OutsideRequest(name="task test 7", context="why?", pictures=())
    with pytest.raises(ValueError, match="task test 7 has no picture"):
        OutsideAnswerer(encoder, every_language("memory"), bank=bank).answer_batch([blind], max_new_tokens=1)
    [said] = OutsideAnswerer(encoder, ConditionOptions(condition="none")).answer_batch([blind], max_new_tokens=1)
    assert said.prompt_tokens > 0


def test_a_bank_is_made_of_the_corpus_once_and_read_afterwards(
    encoder: MemoryEncoder, requests: list[OutsideRequest], tmp_path: Path
):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for place, request in enumerate(requests[:2]):
        (folder / f"{place}.png").write_bytes(request.pictures[0])
        (folder / f"{place}.txt").write_text(f"Country number {place}.")
    options, path = every_language("text", k=1), tmp_path / "bank.safetensors"
    made = open_answerer(encoder, options, knowledge=str(folder), bank=path)
    again = open_answerer(encoder, options, knowledge=str(folder), bank=path)
    assert made.bank and again.bank and len(made.bank) == 2
    assert torch.equal(made.bank.of(list(made.bank)), again.bank.of(list(made.bank)))
    assert made.answer_batch(requests[:1], max_new_tokens=4) == again.answer_batch(requests[:1], max_new_tokens=4)
    with pytest.raises(ValueError, match="2 of the bank's 2 items are not in the corpus"):
        open_answerer(encoder, options, bank=path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"condition": "oracle"}, "allowed here are none, text"), ({"k": 0}, "k is 0"), ({"condition": "x"}, "unknown")],
)
def test_what_cannot_be_shown_is_refused(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        ConditionOptions(**arguments)  # pyright: ignore[reportArgumentType]


def test_a_condition_that_shows_items_needs_some_of_this_encoder(
    encoder: MemoryEncoder, new_encoder: object, bank: Bank
):
    with pytest.raises(ValueError, match="name a corpus"):
        open_answerer(encoder, ConditionOptions())
    with pytest.raises(ValueError, match="two encoders do not mix"):
        OutsideAnswerer(new_encoder(), ConditionOptions(), bank=bank)  # pyright: ignore[reportCallIssue]
