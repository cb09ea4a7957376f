"""The tokenizer of the tiny base: every word of the world is one token, everything else survives."""

import pytest

from comem_core.backbone.qwen_vl import QwenVL
from comem_core.prompts import read_prompt_set
from comem_core.worlds.countries.world import (
    ATTRIBUTES,
    LANGUAGES,
    list_vocabulary,
    load_countries,
    load_knowledge_items,
    read_templates,
    read_value,
    write_facts,
)

VALUES = [
    (kind.partition("/")[0], value, language)
    for kind, values in list_vocabulary().items()
    for value in values
    for language in ([kind.partition("/")[2]] if "/" in kind else LANGUAGES)
]


def ids_of(backbone: QwenVL, text: str) -> list[int]:
    return backbone.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_every_value_is_one_token_and_decodes_to_itself(backbone: QwenVL):
    values = {value for _, value, _ in VALUES}
    wrong = [value for value in values if len(ids_of(backbone, value)) != 1]
    assert wrong == []
    wrong = [(value, said) for value in values if (said := backbone.tokenizer.decode(ids_of(backbone, value))) != value]
    assert wrong == []


def test_every_value_is_one_token_inside_its_sentence_in_every_language(backbone: QwenVL):
    of_value = {value: ids_of(backbone, value)[0] for _, value, _ in VALUES}
    wrong = []
    for attribute, value, language in VALUES:
        sentence = write_facts({attribute: (value,)}, language)
        others = read_templates()[language]["sentence"][attribute].format(value="")
        ids = ids_of(backbone, sentence)
        if ids.count(of_value[value]) != 1 or len(ids) > len(ids_of(backbone, others)) + 1:
            wrong.append((language, value, backbone.tokenizer.convert_ids_to_tokens(ids)))
    assert wrong == []


def test_every_value_is_one_token_in_the_items_and_in_a_list(backbone: QwenVL):
    for item in load_knowledge_items()[::7]:
        ids = ids_of(backbone, item.text)
        country_id, language = item.entity_id, item.language
        country = next(each for each in load_countries() if each.country_id == country_id)
        for attribute in ATTRIBUTES:
            for value in read_value(country, attribute, language):
                assert ids_of(backbone, value)[0] in ids, (value, item.text)


def test_a_value_as_an_answer_is_the_same_token_as_in_a_sentence(backbone: QwenVL):
    for _, value, _ in VALUES[::11]:
        assert ids_of(backbone, f"<|im_start|>assistant\n{value}<|im_end|>\n").count(ids_of(backbone, value)[0]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Zyxwv qwertz",
        "naïve façade — “quoted”",
        "Ünïcödé, ελληνικά, हिन्दी, 漢字, 🙂",
        "1234567.89 km²",
        "two\nlines",
        "[x] {y} <z> \\ | ~",
    ],
)
def test_unknown_words_survive_as_bytes(backbone: QwenVL, text: str):
    assert backbone.tokenizer.decode(ids_of(backbone, text)) == text


def test_every_question_and_instruction_survives(backbone: QwenVL):
    prompts = read_prompt_set("short")
    for language in LANGUAGES:
        questions = [text for texts in read_templates()[language]["question"].values() for text in texts]
        for text in [*questions, *prompts.ask[language].values(), prompts.remark[language]]:
            ids = ids_of(backbone, text)
            assert backbone.tokenizer.decode(ids) == text
            assert len(ids) <= len(text.split()) + 4 or language == "zh", (text, len(ids))  # words, not bytes


def test_a_part_of_a_longer_word_is_not_taken_for_a_value(backbone: QwenVL):
    togo = ids_of(backbone, "Togo")[0]
    assert togo in ids_of(backbone, "Country: Togo.")
    assert togo not in ids_of(backbone, "Togoland and Montogo")


def test_the_special_tokens_are_those_of_the_family_and_padding_is_on_the_left(backbone: QwenVL):
    tokenizer = backbone.tokenizer
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side) == ("<|im_end|>", "<|endoftext|>", "left")
    for token in ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"):
        assert len(ids_of(backbone, token)) == 1
    config = backbone.model.config
    assert config.image_token_id == ids_of(backbone, "<|image_pad|>")[0]
    assert config.text_config.vocab_size == len(tokenizer)
