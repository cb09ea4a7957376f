"""What counts as a written pair, worked by hand, in several languages and with the habits of models."""

import pytest

from comem_core.prompts import read_prompt_set
from comem_core.synthesis.pairs import ANSWER_IN_QUESTION, UNPARSABLE, QuestionAnswerPair, parse_pair

ENGLISH = {"question": ["Question"], "answer": ["Answer"]}


@pytest.mark.parametrize(
    "text",
    [
        "Question: How long is this bridge?\nAnswer: 212 m",
        "question: How long is this bridge?\nanswer: 212 m\n",
        "Sure!\n\n**Question:** How long is this bridge?\n\n**Answer:** 212 m\n\nI hope that helps.",
        "1. Question: How long is\n   this bridge?\n2. Answer: 212 m",
        "Question: How long is this bridge?\nAnswer:\n212 m\nQuestion: Where is it?\nAnswer: Rome",
        "Question：How long is this bridge?\nAnswer：212 m",
    ],
)
def test_a_pair_is_found_in_what_models_write(text: str) -> None:
    assert parse_pair(text, markers=ENGLISH) == QuestionAnswerPair(question="How long is this bridge?", answer="212 m")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "How long is this bridge? 212 m",
        "Question: How long is this bridge?",
        "Question: How long is this bridge?\nAnswer:",
        "Question: How long is this bridge?\nAnswer: -",
        "Question: ?\nAnswer: 212 m",
        "Answer: 212 m\nQuestion: How long is this bridge?",
        "Question: How long is this bridge?\nAnswer:\nQuestion: Where is it?",
        "Unanswered question: long? The answer: 212",
    ],
)
def test_anything_else_is_unparsable(text: str) -> None:
    assert parse_pair(text, markers=ENGLISH) == UNPARSABLE


def test_a_pair_in_the_models_thinking_is_no_pair() -> None:
    first, pair = "Question: Where is this?\nAnswer: Quito", "Question: How long is this bridge?\nAnswer: 212 m"
    for thought in (f"<think>\n{first}\n</think>\n", f"{first}\n</think>\n\n", f"[THINK]{first}[/THINK]"):
        found = parse_pair(thought + pair, markers=ENGLISH)
        assert found == QuestionAnswerPair(question="How long is this bridge?", answer="212 m")
        assert parse_pair(thought, markers=ENGLISH) == UNPARSABLE
    assert parse_pair(f"<think>\n{first}\n{pair}", markers=ENGLISH) == UNPARSABLE


@pytest.mark.parametrize("answer", ["`212 m`", r"\boxed{\text{212 m}}", "**212 m**", "$212\\,\\mathrm{m}$", "_212 m_"])
def test_markup_around_the_answer_is_not_part_of_it(answer: str) -> None:
    found = parse_pair(f"```\n### Question\nHow long is it?\n### Answer\n{answer}\n```", markers=ENGLISH)
    assert found == QuestionAnswerPair(question="How long is it?", answer="212 m")


def test_of_a_truncated_text_the_answer_must_have_ended() -> None:
    text = "Question: Where is this?\nAnswer: Rio de"
    assert parse_pair(text, markers=ENGLISH, truncated=True) == UNPARSABLE
    assert parse_pair(f"{text} Janeiro\nQuest", markers=ENGLISH, truncated=True) == QuestionAnswerPair(
        question="Where is this?", answer="Rio de Janeiro"
    )


@pytest.mark.parametrize("answer", ["A", "A+", "O−", "½", "-5 °C"])
def test_a_letter_or_a_number_is_an_answer(answer: str) -> None:
    found = parse_pair(f"Question: Which grade does this carry?\nAnswer: {answer}", markers=ENGLISH)
    assert found == QuestionAnswerPair(question="Which grade does this carry?", answer=answer)


@pytest.mark.parametrize("answer", ["the", "An", "a", "!", "°", "+"])
def test_an_article_or_a_mark_is_no_answer(answer: str) -> None:
    assert parse_pair(f"Question: Which grade does this carry?\nAnswer: {answer}", markers=ENGLISH) == UNPARSABLE


def test_a_question_that_gives_its_answer_away_is_no_pair() -> None:
    text = "Question: In which country is the Kenya Bridge?\nAnswer: kenya"
    assert parse_pair(text, markers=ENGLISH) == ANSWER_IN_QUESTION
    assert isinstance(parse_pair(text.replace("Kenya Bridge", "Kenyan Bridge"), markers=ENGLISH), QuestionAnswerPair)
    text = "Question: What weighs as much as this 3.5 kg stone?\nAnswer: {}"
    assert parse_pair(text.format("3500 g"), markers=ENGLISH) == ANSWER_IN_QUESTION
    assert isinstance(parse_pair(text.format("35 kg"), markers=ENGLISH), QuestionAnswerPair)


@pytest.mark.parametrize(
    ("language", "text", "question", "answer"),
    [
        ("de", "Frage: Wie lang ist dies?\nAntwort: 212 m", "Wie lang ist dies?", "212 m"),
        ("fr", "Question : Où est ceci ?\nRéponse : Rome", "Où est ceci ?", "Rome"),
        ("zh", "问题：这座桥有多长？\n答案：212米", "这座桥有多长？", "212米"),
        ("ja", "質問：これはどこにありますか。\n答え：ローマ", "これはどこにありますか。", "ローマ"),
        ("arz", "السؤال: ده فين؟\nالإجابة: روما", "ده فين؟", "روما"),
        ("ru", "**Вопрос:** Где это?\n**Ответ:** Рим", "Где это?", "Рим"),
        ("bg", "Question: Къде е това?\nAnswer: Рим", "Къде е това?", "Рим"),
        ("ko", "Question: 이것은 어디에 있습니까?\nAnswer: 로마", "이것은 어디에 있습니까?", "로마"),
    ],
)
def test_markers_are_those_of_the_language_or_english(language: str, text: str, question: str, answer: str) -> None:
    markers = read_prompt_set("reason").list_pair_markers(language)
    assert parse_pair(text, markers=markers) == QuestionAnswerPair(question=question, answer=answer)
