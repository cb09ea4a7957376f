"""Samples go into another language and back, with their numbers; what went wrong on the way is said of the row."""

import json
from dataclasses import replace
from typing import Any

import pytest

from comem_core.backbone.conversation import Generated
from comem_core.knowledge.items import Question
from comem_core.synthesis.translation import (
    Texts,
    TranslationRequest,
    judge_round_trip,
    make_translated_question,
    read_reply,
    read_translation_prompts,
    translate,
)
from comem_core.worlds.countries.world import LANGUAGES, load_seed_questions
from tests.dictionary_translator import DictionaryTranslator, rows_of
from tests.languages import MANY

PROMPTS = read_translation_prompts("plain")
PAPER = ("bg", "zh", "arz", "fil", "fr", "ja", "pt", "ru", "es")


def question_about(attribute: str, language: str = "en") -> Question:
    return next(each for each in load_seed_questions() if each.attribute == attribute and each.language == language)


def request(attribute: str, into: str, **changed: Any) -> TranslationRequest:
    question = question_about(attribute)
    draft, asked = rows_of(question, question.answers[0])
    return TranslationRequest(draft=draft | changed, asked=asked, language=into)


def translated(requests: list[TranslationRequest], translator: DictionaryTranslator) -> list[dict[str, Any]]:
    return translate(translator, requests, PROMPTS, max_new_tokens=99)


def test_a_sample_is_translated_with_its_other_answers_and_comes_back() -> None:
    translator = DictionaryTranslator()
    requests = [
        request(attribute, into) for attribute in ("language", "capital", "area") for into in ("es", "zh", "ar")
    ]
    rows = translated(requests, translator)
    assert [row["error"] for row in rows] == [None] * 9
    assert [row["language"] for row in rows] == ["es", "zh", "ar"] * 3
    verdicts = judge_round_trip(translator, list(zip(requests, rows, strict=True)), PROMPTS, max_new_tokens=99)
    assert [verdict["metric_score"] for verdict in verdicts] == [1.0] * 9
    assert {verdict["judge"] for verdict in verdicts} == {"round_trip"}
    assert all(
        verdict["language_found"] in (row["language"], "und") for verdict, row in zip(verdicts, rows, strict=True)
    )
    assert all(verdict["prompt_tokens"] > 0 for verdict in verdicts)
    assert translator.num_asked == 18


def test_every_pair_of_languages_of_the_world_can_be_translated() -> None:
    translator = DictionaryTranslator()
    for source in LANGUAGES:
        question = question_about("currency", source)
        draft, asked = rows_of(question, question.answers[0])
        requests = [TranslationRequest(draft=draft, asked=asked, language=into) for into in LANGUAGES if into != source]
        rows = translated(requests, translator)
        assert [row["error"] for row in rows] == [None] * 4
        assert len({row["question"] for row in rows}) == len({row["sample_id"] for row in rows}) == 4


def test_a_row_keeps_where_it_came_from_and_its_question_has_the_other_answers() -> None:
    asked_for = request("neighbour", "ru")
    (row,) = translated([asked_for], DictionaryTranslator())
    draft = asked_for.draft
    assert (row["mode"], row["translated_from"], row["model"]) == ("translate", draft["sample_id"], "dictionary")
    assert all(row[name] == draft[name] for name in ("image_id", "item_ids", "retrieval_scores"))
    assert row["sample_id"] != draft["sample_id"] and row["question_id"] == f"translated/{row['sample_id']}"
    question = make_translated_question(asked_for.asked, row)
    assert question["origin"] == "translated" and question["language"] == "ru"
    assert question["answers"][0] == row["answer"] and len(question["answers"]) == len(asked_for.asked["answers"])
    assert question["image"] == asked_for.asked["image"]
    (again,) = translated([asked_for], DictionaryTranslator())
    assert again["sample_id"] == row["sample_id"]


@pytest.mark.parametrize(
    ("attribute", "spoil", "said"),
    [
        ("capital", lambda found: f"Here you are: {json.dumps(found)}", "unreadable"),
        ("capital", lambda found: json.dumps(found)[:-5], "unreadable"),
        ("capital", lambda found: json.dumps(found | {"answer": ""}), "unreadable"),
        ("capital", lambda found: json.dumps(found | {"aliases": "none"}), "unreadable"),
        ("area", lambda found: json.dumps(found | {"answer": "9 km²"}), "numbers: the answer lost or gained"),
        ("area", lambda found: json.dumps(found | {"question": "¿1990?"}), "numbers: the question lost or gained 1990"),
        ("currency", lambda found: json.dumps(found | {"answer": "the common coin"}), "untranslated"),
    ],
)
def test_what_is_no_translation_says_why_and_is_not_asked_again(attribute: str, spoil: Any, said: str) -> None:
    answer = {"answer": "the common coin"} if said == "untranslated" else {}
    asked_for = [request(attribute, "es", **answer), request("capital", "ru")]
    translator = DictionaryTranslator(faults={"es": spoil})
    rows = translated(asked_for, translator)
    assert rows[0]["error"].startswith(said) and rows[1]["error"] is None
    assert rows[0]["answer"] is None and rows[0]["aliases"] == [] and rows[0]["answer_raw"]
    assert rows[0]["question"] == asked_for[0].draft["question"]
    verdicts = judge_round_trip(translator, list(zip(asked_for, rows, strict=True)), PROMPTS, max_new_tokens=99)
    assert [verdict["metric_score"] for verdict in verdicts] == [0.0, 1.0]
    assert translator.num_asked == 3


def test_a_translation_that_comes_back_as_something_else_scores_low() -> None:
    spoilt = {
        "es": lambda found: json.dumps(found | {"answer": "Bogotá", "question": "¿Qué moneda se usa en este país?"})
    }
    asked_for = request("capital", "es")
    translator = DictionaryTranslator(faults=spoilt)
    (row,) = translated([asked_for], translator)
    assert row["error"] is None
    (verdict,) = judge_round_trip(translator, [(asked_for, row)], PROMPTS, max_new_tokens=99)
    assert verdict["metric_score"] == 0.0 and verdict["second_answer"] == "Bogotá"


def test_a_reply_in_another_language_is_found_out() -> None:
    english = {"zh": lambda found: json.dumps(found | {"question": "What is the capital of this country?"})}
    asked_for = request("capital", "zh")
    translator = DictionaryTranslator(faults=english)
    (row,) = translated([asked_for], translator)
    (verdict,) = judge_round_trip(translator, [(asked_for, row)], PROMPTS, max_new_tokens=99)
    assert row["language"] == "zh" and verdict["language_found"] == "en"


def test_aliases_are_merged_and_one_with_a_number_of_its_own_is_left_out() -> None:
    found = {
        "es": lambda reply: json.dumps(reply | {"aliases": ["", "Lima 2", reply["answer"].lower(), "La  Capital"]})
    }
    (row,) = translated([request("capital", "es")], DictionaryTranslator(faults=found))
    assert row["aliases"] == [row["answer"], "Lima 2", "La Capital"]
    longer = {"es": lambda reply: json.dumps(reply | {"aliases": ["Lima 1535", "Otra"]})}
    (row,) = translated([request("capital", "es")], DictionaryTranslator(faults=longer))
    assert row["aliases"] == [row["answer"], "Otra"]


def test_an_error_of_the_generator_stays_on_its_row() -> None:
    class Refusing(DictionaryTranslator):
        def _reply(self, prompt: str) -> Generated:
            return replace(super()._reply(prompt), text="", error="503: overloaded")

    (row,) = translated([request("capital", "es")], Refusing())
    assert row["error"] == "503: overloaded" and row["answer"] is None


def test_a_reply_is_one_object_alone_or_in_a_fence() -> None:
    reply = '{"question": "Où ?\\n", "answer": " Paris ", "aliases": ["Lutèce"]}'
    expected = Texts(question="Où ?", answer="Paris", aliases=("Lutèce",))
    assert read_reply(reply) == read_reply(f"```json\n{reply}\n```") == read_reply(f"\n{reply} ") == expected
    for fenced in (
        f"~~~\n{reply}\n~~~",
        f"```json {reply}```",
        f"```JSON5\n{reply}\n```\n",
        f"<think>```</think>\n```\n{reply}\n```",
    ):
        assert read_reply(fenced) == expected
    assert read_reply('{"question": "a", "answer": "b"}') == Texts(question="a", answer="b")
    for wrong in ("", "[]", "null", "Paris", '{"question": "a"}', '{"question": "a", "answer": 3}', reply + reply):
        assert read_reply(wrong) is None


def test_a_language_without_a_name_in_the_prompts_has_that_of_cldr() -> None:
    names = {
        "is": "Icelandic",
        "zh-Hant": "Chinese (Traditional)",
        "tlh": "Klingon",
        "zh": "Chinese",
        "pt-BR": "Portuguese",
    }
    for language, name in names.items():
        assert name in PROMPTS.name_language(language)
    assert PROMPTS.name_language("und") == "the language it is written in"
    assert all(PROMPTS.name_language(language) for language in MANY)


def test_the_prompt_names_both_languages_and_braces_in_a_text_stay_text() -> None:
    texts = Texts(question="What does {target} mean?", answer="{sample}", aliases=("“x”",))
    system, user = PROMPTS.make_conversation(texts, source="en", target="arz")
    assert system.role == "system" and user.role == "user"
    text = str(user.content[0])
    assert "from English into Egyptian Arabic" in text
    assert json.loads(text.partition("\n\n")[2]) == {
        "question": texts.question,
        "answer": "{sample}",
        "aliases": ["“x”"],
    }
    assert set(PAPER) <= set(PROMPTS.languages)
    with pytest.raises(ValueError, match="cannot name the language 'xx'; they name ar, arz"):
        PROMPTS.make_conversation(texts, source="en", target="xx")
    with pytest.raises(ValueError, match="unknown translation prompts 'fancy'; expected one of plain"):
        read_translation_prompts("fancy")
