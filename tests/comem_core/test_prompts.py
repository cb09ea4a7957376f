"""Prompts as data: what a conversation holds, in which order, and what names it."""

import hashlib
from dataclasses import replace
from importlib import resources

import pytest

from comem_core import prompts as prompt_package
from comem_core.backbone.conversation import Turn
from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.languages import read_primary_code
from comem_core.prompts import MAX_CHARACTERS, hash_prompt, read_prompt_set
from comem_core.prompts.files import list_prompt_files
from comem_core.worlds.countries.world import ATTRIBUTES, LANGUAGES
from tests.languages import MANY

PROMPTS = read_prompt_set("short")
ITEM = KnowledgeItem(image=b"flag", text="Country: Togo.", language="en", source="test", licence="CC0-1.0")


def test_the_encoder_reads_an_item_as_an_answer_to_its_picture_and_no_question():
    assert PROMPTS.make_item_conversation(ITEM) == [
        Turn("user", (b"flag", "Knowledge:")),
        Turn("assistant", ("Country: Togo.",)),
    ]


def test_items_stand_before_the_question_in_rank_order_and_the_answer_last():
    second = replace(ITEM, image=b"other flag", text="Country: Mali.")
    conversation = PROMPTS.make_conversation(
        "Which country is this?", b"photo", "en", items=(ITEM, second), answer="Togo"
    )
    assert conversation == [
        Turn("system", ("You are a helpful assistant.",)),
        Turn("user", (b"flag", "Country: Togo.")),
        Turn("user", (b"other flag", "Country: Mali.")),
        Turn("user", (b"photo", "Which country is this?")),
        Turn("assistant", ("Togo",)),
    ]
    assert list(PROMPTS.make_conversation("Which country is this?", b"photo", "en")) == [
        conversation[0],
        conversation[3],
    ]


def test_an_empty_answer_is_a_turn_and_no_answer_is_none():
    assert PROMPTS.make_conversation("?", b"photo", "en", answer="")[-1] == Turn("assistant", ("",))
    assert PROMPTS.make_conversation("?", b"photo", "en")[-1].role == "user"


def test_text_is_cut_at_five_thousand_characters_wherever_it_stands():
    long = "ж" * (MAX_CHARACTERS + 1)
    item = replace(ITEM, text=long)
    assert MAX_CHARACTERS == 5000
    assert PROMPTS.make_item_conversation(item)[1].content[0] == long[:5000]
    assert PROMPTS.make_item_turn(item).content[1] == long[:5000]
    assert PROMPTS.make_question_turn(long, b"photo", "en").content[1] == long[:5000]
    assert PROMPTS.make_question_turn(long[:5000], b"photo", "en").content[1] == long[:5000]


def test_braces_in_a_text_are_text():
    item = replace(ITEM, text="{text} {question} {0}")
    assert PROMPTS.make_item_turn(item).content[1] == "{text} {question} {0}"
    assert PROMPTS.make_question_turn("{question} {text}", b"photo", "en").content[1] == "{question} {text}"


def test_the_hash_of_a_prompt_changes_with_every_part_of_it():
    plain = PROMPTS.make_conversation("Which country is this?", b"photo", "en", items=(ITEM,))
    others = [
        PROMPTS.make_conversation("Which country is that?", b"photo", "en", items=(ITEM,)),
        PROMPTS.make_conversation("Which country is this?", b"photos", "en", items=(ITEM,)),
        PROMPTS.make_conversation("Which country is this?", b"photo", "en"),
        PROMPTS.make_conversation("Which country is this?", b"photo", "en", items=(ITEM, ITEM)),
        [Turn("user", plain[0].content), *plain[1:]],
        [*plain[:-1], Turn("user", plain[-1].content[::-1])],
        [*plain[:-2], plain[-1], plain[-2]],
    ]
    hashes = {hash_prompt(conversation) for conversation in (plain, *others)}
    assert len(hashes) == 8
    assert hash_prompt(list(plain)) == hash_prompt(plain) == hash_prompt(tuple(plain))
    assert all(len(each) == 16 for each in hashes)


def test_a_prompt_set_is_named_by_its_bytes():
    raw = (resources.files(prompt_package) / "short.json").read_bytes()
    assert PROMPTS.sha256 == hashlib.sha256(raw).hexdigest()
    assert read_prompt_set("short") is PROMPTS


def test_every_language_of_the_world_can_be_asked_every_kind_of_question():
    for language in LANGUAGES:
        assert PROMPTS.list_kinds(language) == ATTRIBUTES
        asked = {PROMPTS.make_ask_turn(kind, language).content for kind in ATTRIBUTES}
        assert len(asked) == len(ATTRIBUTES)
        assert PROMPTS.make_question_turn("?", b"photo", language).content == (b"photo", "?")
        assert PROMPTS.make_item_conversation(replace(ITEM, language=language))[0].content[1]


def test_a_remark_may_hold_the_text_so_that_the_item_is_read_twice():
    twice = replace(PROMPTS, remark={"en": "Repeat: {text}"})
    assert twice.make_item_conversation(ITEM) == [
        Turn("user", (b"flag", "Repeat: Country: Togo.")),
        Turn("assistant", ("Country: Togo.",)),
    ]
    long = replace(ITEM, text="{text}" + "x" * MAX_CHARACTERS)
    assert twice.make_item_conversation(long)[0].content[1] == "Repeat: " + long.text[:5000]


def test_worked_examples_stand_behind_the_system_turn_and_bring_their_items_only_where_the_question_does():
    example = {"item": "Capital: Rome.", "question": "What is the capital?", "answer": "Rome"}
    shown = replace(PROMPTS, examples={"en": [example]})
    plain = PROMPTS.make_conversation("Which country is this?", b"photo", "en", items=(ITEM,))
    asked = [Turn("user", ("What is the capital?",)), Turn("assistant", ("Rome",))]
    with_item = shown.make_conversation("Which country is this?", b"photo", "en", items=(ITEM,))
    assert with_item == [plain[0], Turn("user", ("Capital: Rome.",)), *asked, *plain[1:]]
    assert shown.make_conversation("Which country is this?", b"photo", "en") == [plain[0], *asked, plain[-1]]
    assert shown.make_conversation("¿?", b"photo", "es") == PROMPTS.make_conversation("¿?", b"photo", "es")


@pytest.mark.parametrize("name", ["smol", "smol_shots", "smol_open"])
def test_every_shipped_set_speaks_every_language_of_the_world(name: str):
    for language in LANGUAGES:
        assert str(read_prompt_set(name).make_item_turn(replace(ITEM, language=language)).content[1]).endswith(
            ITEM.text
        )
        turns = read_prompt_set(name).make_item_conversation(replace(ITEM, language=language))
        assert str(turns[0].content[1]).endswith(ITEM.text) == (name != "smol"), "its encoder reads a text once"
        assert read_prompt_set(name).list_kinds(language) == ATTRIBUTES
    assert bool(read_prompt_set(name).examples) == (name != "smol")


def test_a_set_without_english_or_another_default_refuses_a_language_with_the_known_ones():
    texts = {name: {"es": getattr(PROMPTS, name)["es"]} for name in ("remark", "item", "question", "ask")}
    spanish = replace(PROMPTS, **texts)
    for ask in (
        lambda: spanish.make_question_turn("?", b"photo", "fr"),
        lambda: spanish.make_item_turn(replace(ITEM, language="fr")),
        lambda: spanish.make_item_conversation(replace(ITEM, language="fr")),
        lambda: spanish.make_ask_turn("capital", "fr"),
        lambda: spanish.list_kinds("fr"),
        lambda: spanish.check_language("fr"),
    ):
        with pytest.raises(ValueError, match="prompt set 'short' has no language 'fr'; it has es"):
            ask()


@pytest.mark.parametrize("name", list_prompt_files(resources.files(prompt_package)))
def test_every_set_serves_every_language_and_asks_for_the_answer_in_it(name: str):
    prompts = read_prompt_set(name)
    for language in (*MANY, "und", "tlh", "zh-Hant", "pt-BR"):
        prompts.check_language(language)
        item = replace(ITEM, language=language)
        kind = prompts.list_kinds(language)[0]
        conversation = prompts.make_conversation("Où?", b"photo", language, items=(item,), answer="ici")
        asked, written = str(conversation[-2].content[1]), str(prompts.make_ask_conversation(item, kind)[-1].content[0])
        assert asked.count("Où?") == 1 and prompts.make_item_conversation(item)[1].content == (ITEM.text,)
        if not {language, read_primary_code(language)} & prompts.question.keys():
            assert "language of the question" in asked and "language of the text" in written
        elif language == "en":
            assert "language of the question" not in asked and "language of the text" not in written


@pytest.mark.parametrize("name", ["long", "", "../short", "short.json"])
def test_an_unknown_set_is_refused_with_the_known_ones(name: str):
    with pytest.raises(ValueError, match=f"unknown prompt set '{name}'; expected one of reason, short"):
        read_prompt_set(name)


PAPER_LANGUAGES = ("en", "bg", "zh", "arz", "fil", "fr", "ja", "pt", "ru", "es")


def test_the_set_for_models_that_reason_speaks_the_languages_of_the_paper_and_has_words_for_all_others():
    reason = read_prompt_set("reason")
    assert (reason.asks, reason.extract, reason.default_language) == ("pair", "boxed", "other")
    kinds = reason.list_kinds("en")
    assert len(kinds) == 8
    for language in (*PAPER_LANGUAGES, "de", "ar"):
        assert language in reason.item and reason.list_kinds(language) == kinds
        instruction = str(reason.make_question_turn("?", b"photo", language).content[1])
        assert "\\boxed{}" in instruction
        turns = reason.make_ask_conversation(replace(ITEM, language=language), "number")
        markers = reason.list_pair_markers(language)
        asked = str(turns[-1].content[0])
        assert f"\n{markers['question'][0]}" in asked and f"\n{markers['answer'][0]}" in asked
        assert "{" not in asked
    assert len({reason.ask_frame[language] for language in reason.ask_frame}) == 13
    assert (
        reason.make_ask_turn("place", "ko")
        == reason.make_ask_turn("place", "other")
        != reason.make_ask_turn("place", "en")
    )
    assert "language of the text" in str(reason.make_ask_turn("place", "ko").content[0])


def test_pairs_are_asked_for_with_worked_examples_of_the_kind_between_system_turn_and_item():
    pairs = read_prompt_set("smol_pairs")
    turns = pairs.make_ask_conversation(ITEM, "place")
    assert turns[0] == Turn("system", (pairs.ask_system or "",))
    assert turns[-2:] == [pairs.make_item_turn(ITEM), pairs.make_ask_turn("place", "en")]
    examples = turns[1:-2]
    of_the_kind = [example for example in pairs.ask_examples["en"] if example["kind"] == "place"]
    assert len(examples) == 3 * len(of_the_kind) == 9
    assert [turn.role for turn in examples[:3]] == ["user", "user", "assistant"]
    for example, written in zip(of_the_kind, examples[2::3], strict=True):
        assert example["answer"] in example["item"]
        assert written.content == (f"Question: {example['question']}\nAnswer: {example['answer']}",)


def test_asking_in_the_sets_without_pairs_is_an_item_and_an_instruction():
    assert PROMPTS.make_ask_conversation(ITEM, "area") == [
        PROMPTS.make_system_turn(),
        PROMPTS.make_item_turn(ITEM),
        Turn("user", ("Ask about the area.",)),
    ]
