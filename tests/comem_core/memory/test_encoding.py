"""Items into a bank: any iterable, each item once, in batches that never matter, and what is refused by its name."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comem_core.backbone.images import VisualTokens
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory import encoding
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.encoding import cut_into_batches

Items = tuple[KnowledgeItem, ...]
NewEncoder = Callable[..., MemoryEncoder]


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_any_iterable_becomes_a_bank_of_the_items_memories(encoder: MemoryEncoder, items: Items, batch_size: int):
    bank = encoder.encode((item for item in items), batch_size=batch_size)
    assert list(bank) == [item.item_id for item in items]
    assert (bank.encoder_id, bank.num_vectors, bank.width) == (encoder.encoder_id, 8, 64)
    for item in items:
        alone_MD = encoder.encode_batch([item])[0]
        torch.testing.assert_close(bank.of([item.item_id]), alone_MD, rtol=1e-4, atol=1e-4)


def test_items_of_text_alone_are_encoded_beside_those_with_pictures(encoder: MemoryEncoder, items: Items):
    mixed = [replace(item, image=None) if place % 2 else item for place, item in enumerate(items)]
    alone = [replace(item, image=None) for item in items]
    for batch in (mixed, alone):
        memory_BMD = encoder.encode_batch(batch)
        for item, memory_MD in zip(batch, memory_BMD, strict=True):
            torch.testing.assert_close(memory_MD, encoder.encode_batch([item])[0], rtol=1e-4, atol=1e-4)
    assert list(encoder.encode(mixed, grid=None)) == [item.item_id for item in mixed]
    with pytest.raises(ValueError, match="is text alone; a picture is needed"):
        encoder.encode(alone)  # a bank that is searched by pictures


@pytest.mark.parametrize("tokens", [1, 150, 400])
def test_a_batch_that_is_read_in_parts_keeps_its_order(
    encoder: MemoryEncoder, items: Items, tokens: int, monkeypatch: pytest.MonkeyPatch
):
    mixed = [replace(item, text=item.text * (1 + place * 7 % 5)) for place, item in enumerate(items)]
    mixed[1] = replace(mixed[1], image=None)
    alone = [encoder.encode_batch([item])[0] for item in mixed]
    longest = max(encoder.prepare_items(mixed).lengths)
    monkeypatch.setattr(encoding, "CPU_TOKENS", tokens)
    assert longest * len(mixed) > tokens
    memory_BMD = encoder.encode_batch(mixed)
    for found_MD, alone_MD in zip(memory_BMD, alone, strict=True):
        torch.testing.assert_close(found_MD, alone_MD, rtol=1e-4, atol=1e-4)


def test_items_are_taken_one_batch_at_a_time(encoder: MemoryEncoder, items: Items):
    bank, taken = encoder.make_bank(), 0

    def endless() -> Iterator[KnowledgeItem]:
        nonlocal taken
        for number in itertools.count():
            if taken == 9:
                raise KeyboardInterrupt
            taken += 1
            yield replace(items[0], text=f"{number}")

    with pytest.raises(KeyboardInterrupt):
        encoder.encode(endless(), into=bank, batch_size=4)
    assert len(bank) == 8  # what was finished before the interruption is there


def test_an_item_is_encoded_once_however_often_it_comes(new_encoder: NewEncoder, items: Items):
    encoder, encoded = new_encoder(), []
    encoder.qformer.register_forward_pre_hook(lambda _, given: encoded.append(len(given[0])))
    twins = [items[0], replace(items[0], title="another title"), items[1], items[0]]
    bank = encoder.encode(twins, batch_size=3)
    assert (len(bank), encoded) == (2, [2])
    again = encoder.encode([items[1], items[2]], into=bank)
    assert again is bank
    assert (len(bank), encoded) == (3, [2, 1])


def test_training_neither_shows_in_a_memory_nor_is_switched_off_by_it(new_adapted_encoder: NewEncoder, items: Items):
    encoder = new_adapted_encoder(lora_dropout=0.5)
    before_BMD = encoder.encode_batch(items[:2])
    encoder.set_trainable(True)
    assert torch.equal(encoder.encode_batch(items[:2]), before_BMD)
    assert encoder.qformer.training and encoder.backbone.model.training
    assert not torch.equal(encoder.memory(items[:2]), before_BMD)  # dropout is on again


def test_a_bank_finds_an_items_picture_by_the_same_picture_in_the_questions_language(
    encoder: MemoryEncoder, items: Items
):
    translated = [replace(item, language=language) for item in items for language in ("en", "es")]
    bank = encoder.encode(translated)
    asked = [
        Question(question_id=item.item_id, question="?", image=item.picture, language=item.language, answers=())
        for item in translated
    ]
    hits = encoder.search(asked, bank, k=2)
    assert [each.item_ids[0] for each in hits] == [item.item_id for item in translated]
    assert all(each.scores[0] == pytest.approx(1, abs=1e-4) for each in hits)
    language_of = {item.item_id: item.language for item in translated}
    assert all(
        {language_of[item_id] for item_id in hit.item_ids} == {q.language} for hit, q in zip(hits, asked, strict=True)
    )
    both = encoder.search(asked[:1], bank, k=2, same_language=False)[0]
    assert {language_of[item_id] for item_id in both.item_ids} == {"en", "es"}


def test_pictures_are_embedded_as_the_bank_says_and_not_at_all_where_it_is_not_searched(
    encoder: MemoryEncoder, items: Items, questions: tuple[Question, ...]
):
    coarse, fine = (encoder.encode(items[:3], grid=grid) for grid in ((1, 1), (2, 3)))
    for bank, width in ((coarse, 64), (fine, 6 * 64)):
        assert len(encoder.search(questions[:2], bank, k=2, same_language=False)[0].item_ids) == 2
        with pytest.raises(ValueError, match=f"the index holds embeddings of width {width}; the queries have 1"):
            bank.search(np.ones((1, 1), np.float32), k=1)
    plain = encoder.encode(items[:3], grid=None)
    with pytest.raises(ValueError, match=r"holds no pictures to search; name the items to show with item_ids=\.\.\."):
        encoder.search(questions[:1], plain, k=1)


def test_a_bank_of_another_encoder_is_not_extended(encoder: MemoryEncoder, items: Items):
    stranger = Bank(encoder_id="stranger", num_vectors=8, width=64)
    with pytest.raises(ValueError, match="holds vectors of encoder stranger"):
        encoder.encode(items, into=stranger)
    assert len(stranger) == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("my folder/", "found the str 'my folder/'; expected a list, or any iterable, of KnowledgeItem"),
        (Path("my folder"), "Path.*expected a list"),
        (["a text"], "entry 0 is a str, 'a text'; expected a list"),
        (12, "found one int; expected a list"),
    ],
)
def test_what_is_not_a_list_of_items_is_refused_with_what_was_expected(encoder: MemoryEncoder, given: Any, said: str):
    with pytest.raises(ValueError, match=said):
        encoder.encode(given)


def test_one_item_alone_is_refused_as_no_list(encoder: MemoryEncoder, items: Items):
    with pytest.raises(ValueError, match="found one KnowledgeItem; expected a list"):
        encoder.encode(items[0])  # pyright: ignore[reportArgumentType]


def test_a_picture_that_cannot_be_read_is_named_with_its_item(encoder: MemoryEncoder, items: Items):
    broken = replace(items[1], image=b"no picture", title="Atlantis")
    with pytest.raises(ValueError, match=rf"item {broken.item_id} \(Atlantis\): 10 bytes are not a readable picture"):
        encoder.encode([items[0], broken])


def test_an_items_picture_gets_the_visual_tokens_of_the_recipe(new_encoder: NewEncoder, items: Items):
    def longest(encoder: MemoryEncoder) -> int:
        seen: list[int] = []
        encoder.qformer.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
        encoder.encode_batch(items[:1])
        return seen[0]

    free, capped = longest(new_encoder()), longest(new_encoder(item_visual_tokens=VisualTokens(max=2)))
    assert free - capped >= 6
    queried = longest(new_encoder(query_visual_tokens=VisualTokens(max=2)))
    assert queried == free


def test_batches_hold_every_thing_once_in_order():
    assert list(cut_into_batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(cut_into_batches([], 2)) == []
    with pytest.raises(ValueError, match="found batch_size=0"):
        list(cut_into_batches([1], 0))
