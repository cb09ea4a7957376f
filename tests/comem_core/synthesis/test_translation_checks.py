"""Numbers survive in any script and with any separator; names may stay as they are and words may not."""

import pytest

from comem_core.synthesis.translation_checks import (
    compute_word_f1,
    is_left_untranslated,
    list_changed_numbers,
    merge_texts,
    read_numbers,
    score_round_trip,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,234.5 km²", ["1234.5"]),
        ("1.234,5 km²", ["1234.5"]),
        ("1 234,5", ["1234.5"]),
        ("12 345 678 people in 1990", ["12345678", "1990"]),
        ("١٬٢٣٤٫٥", ["1234.5"]),
        ("１２３人", ["123"]),
        ("१९८४", ["1984"]),
        ("0.5 and 0,25", ["0.25", "0.5"]),
        ("1.234.567", ["1234567"]),
        ("2015-03-07", ["2015", "3", "7"]),
        ("+1-684, room 007", ["007", "1", "684"]),
        ("no number", []),
    ],
)
def test_numbers_are_read_alike_whatever_their_digits_and_separators(text: str, expected: list[str]) -> None:
    assert sorted(read_numbers(text).elements()) == expected


@pytest.mark.parametrize(
    ("original", "translated", "changed"),
    [
        ("Opened in 1,889 m on 7 March 1889", "Ouvert à 1 889 m le 7 mars 1889", []),
        ("Opened on 7 March 1889", "1889年3月7日に開業", []),
        ("1889年3月7日", "7 March 1889", []),
        ("1889年3月7日", "March 1889", ["7"]),
        ("two towers of 300 m", "2 tours de 300 m", []),
        ("300 m", "٣٠٠ م", []),
        ("300 m", "300,5 m", ["300", "300.5"]),
        ("1.5 million", "15 millions", ["1.5"]),
        ("1984", "1985", ["1984", "1985"]),
        ("built in 1984", "construit", ["1984"]),
        ("a tower", "une tour de 300 m", ["300"]),
        ("12", "12 3", ["3"]),
        ("at -40 °C", "bei −40 °C", []),
        ("at -40 °C", "bei 40 °C", ["-40", "40"]),
        ("1990–1995", "1990-1995", []),
    ],
)
def test_a_number_that_is_lost_or_made_up_is_named(original: str, translated: str, changed: list[str]) -> None:
    assert list_changed_numbers(original, translated) == changed


@pytest.mark.parametrize(
    ("answer", "translated", "question", "left"),
    [
        ("river", "río", "¿Qué es esto?", False),
        ("river", "River", "¿Qué es esto?", False),
        ("river", "river", "¿Qué es esto?", True),
        ("the old river", "the old river", "Что это?", True),
        ("Paris", "Paris", "Quelle est la capitale ?", False),
        ("Lord of the Rings", "Lord of the Rings", "Qual é o título?", False),
        ("Kyiv", "Kyiv", "Яка столиця?", False),
        ("1984", "1984", "En quelle année ?", False),
        ("G7", "G7", "Quel groupe ?", False),
        ("河流", "河流", "Qu'est-ce que c'est ?", True),
        ("東京", "東京", "首都はどこですか？", False),
        ("北京", "北京", "What is the capital?", True),
        ("ox", "ox", "¿Qué animal es?", True),
    ],
)
def test_a_word_that_stayed_is_told_from_a_name(answer: str, translated: str, question: str, left: bool) -> None:
    assert is_left_untranslated(answer, translated, question=question) is left


def test_the_round_trip_counts_what_came_back() -> None:
    question, answer = "What is the capital of this country?", "Washington, D.C."
    score = score_round_trip(question, answer, back_question=question, back_answer="washington dc", aliases=())
    assert score == 1.0
    paraphrase = "What is this country's capital?"
    part = score_round_trip(question, answer, back_question=paraphrase, back_answer=answer, aliases=())
    assert part == compute_word_f1(question, paraphrase) and 0.5 < part < 1
    assert score_round_trip(question, answer, back_question=question, back_answer="D.C", aliases=("DC",)) == 1.0
    assert score_round_trip(question, answer, back_question=question, back_answer="Lima", aliases=()) == 0.0
    assert score_round_trip(question, answer, back_question="", back_answer=answer, aliases=()) == 0.0


@pytest.mark.parametrize(("answer", "back", "same"), [("3.5 m", "3,5 m", True), ("3.5 m", "35 m", False)])
def test_a_number_that_came_back_as_another_one_did_not_survive(answer: str, back: str, same: bool) -> None:
    score = score_round_trip("How long?", answer, back_question="How long?", back_answer=back, aliases=())
    assert (score == 1.0) is same
    assert merge_texts([answer, back]) == ((answer,) if same else (answer, back))


def test_texts_without_spaces_are_compared_by_sign() -> None:
    assert compute_word_f1("这个国家的首都是哪里", "这个国家首都是哪里") == pytest.approx(2 * 9 / 19)
    assert compute_word_f1("서울 타워", "서울 타워") == 1.0 and compute_word_f1("서울", "부산") == 0.0


def test_answers_that_are_the_same_are_merged_and_empty_ones_left_out() -> None:
    assert merge_texts(["U.S.", " ", "US", "us", "United  States", "..."]) == ("U.S.", "United States")
