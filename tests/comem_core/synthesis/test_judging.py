"""Verdicts worked by hand, for questions with gold answers and for questions that the model asked itself."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.evaluation.metrics.infoseek import normalise_answer
from comem_core.knowledge.items import Question
from comem_core.synthesis.judging import is_agreeing, is_grounded, judge

SEED = Question(
    question_id="EG/capital", question="Capital?", image=b"flag", language="en", answers=("Cairo", "Al-Qahirah")
)
ASKED = replace(SEED, question_id="asked", answers=(), origin="asked")
TEXT = "Country: Egypt. Capital: Cairo. Currency: Egyptian pound. Area: 1,002,450 km². Languages: Arabic/English."


def test_a_seed_question_is_judged_by_its_gold_answers():
    verdict = judge("cairo.", SEED, item_texts=[TEXT], answer_without_items="Giza")
    assert verdict == {
        "judge": "infoseek",
        "metric_score": 1.0,
        "consistent": None,
        "answer_without_items": "Giza",
        "without_score": 0.0,
        "grounded": True,
        "second_answer": None,
    }


def test_a_right_answer_need_not_be_grounded_nor_a_grounded_one_right():
    known = judge("Al-Qahirah", SEED, item_texts=[TEXT], answer_without_items="Cairo")
    assert (known["metric_score"], known["without_score"], known["grounded"]) == (1.0, 1.0, False)
    wrong = judge("Egyptian pound", SEED, item_texts=[TEXT], answer_without_items="")
    assert (wrong["metric_score"], wrong["without_score"], wrong["grounded"]) == (0.0, 0.0, True)


def test_an_asked_question_is_judged_by_whether_two_answers_agree():
    verdict = judge("Cairo", ASKED, item_texts=[TEXT], answer_without_items="Paris", second_answer="Cairo.")
    assert (verdict["judge"], verdict["metric_score"], verdict["without_score"]) == ("consistency", 1.0, 0.0)
    verdict = judge("Cairo", ASKED, item_texts=[TEXT], answer_without_items="cairo", second_answer="Giza")
    assert (verdict["metric_score"], verdict["without_score"]) == (0.0, 1.0)


def test_an_asked_question_without_a_second_answer_cannot_be_judged():
    with pytest.raises(ValueError, match="'asked' was asked by the model; judging it needs a second answer"):
        judge("Cairo", ASKED, item_texts=[TEXT], answer_without_items="")


def test_two_answers_that_say_nothing_do_not_agree():
    assert not is_agreeing("", "")
    assert not is_agreeing("?", "...")
    assert is_agreeing("٢٣٧", "２３７")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("35 m", "The rod is 3.5 m long."),
        ("5 °C", "It is kept at -5 °C."),
        ("15 million", "1.5 million people came."),
        ("C#", "It is written in C++."),
        ("O+", "Its type is O−."),
        ("<5", "It needs >5 of them."),
    ],
)
def test_an_answer_that_lost_a_mark_is_neither_grounded_nor_right(given: str, text: str) -> None:
    pair = replace(ASKED, answers=(text.split(" is ")[-1],))
    verdict = judge(given, pair, item_texts=[text], answer_without_items=text, second_answer=text)
    scores = (verdict["metric_score"], verdict["consistent"], verdict["without_score"], verdict["grounded"])
    assert scores == (0.0, False, 0.0, False)


@pytest.mark.parametrize(
    ("gold", "answer", "without", "scores"),
    [
        ("3.5 m", "35 m", "3,5 m", (0.0, 1.0)),  # InfoSeek's metric takes the first for the gold answer
        ("3.5 m", "3.5 m", "35 m", (1.0, 0.0)),
        ("C++", "C#", "c++", (0.0, 1.0)),
        ("A", "A", "the", (1.0, 0.0)),
        ("A", "", "A+", (0.0, 0.0)),
    ],
)
def test_a_seed_question_is_never_right_for_an_answer_that_means_something_else(
    gold: str, answer: str, without: str, scores: tuple[float, float]
) -> None:
    verdict = judge(answer, replace(SEED, answers=(gold,)), item_texts=[TEXT], answer_without_items=without)
    assert (verdict["metric_score"], verdict["without_score"]) == scores


@pytest.mark.parametrize(
    ("answer", "text", "grounded"),
    [
        ("Cairo", TEXT, True),
        ("CAIRO.", TEXT, True),
        ("Cair", TEXT, False),  # half a word
        ("Arabic", TEXT, True),  # a slash parts words
        ("Egyptian pound", TEXT, True),
        ("pound Egyptian", TEXT, False),
        ("Guinea-Bissau", "It borders Guinea-Bissau.", True),
        ("Guinea", "It borders Equatoria.", False),
        ("القاهرة", "العاصمة: القاهرة، العملة: الجنيه", True),
        ("قاهر", "العاصمة: القاهرة، العملة: الجنيه", False),
        ("Каир", "Столица — Каир.", True),
        ("Каир", "Столица — Каира.", False),
        ("东京", "首都是东京，货币是日元。", True),  # no spaces between words
        ("北京", "首都是东京，货币是日元。", False),
        ("서울", "수도는 서울이다", True),  # particles follow without a space
        ("हिन्द", "भाषा: हिन्दी", False),  # a vowel sign goes on with the word
        ("हिन्दी", "भाषा: हिन्दी", True),
        ("an", "Japan, an Iran", False),  # the metric drops English articles
        ("12", "Code 123", False),
        ("+20", "Calling code: +20.", True),
        ("c++ (a)*", "the language c++ (a)*", True),  # signs of patterns are plain signs
        ("", TEXT, False),
        ("...", TEXT, False),
    ],
)
def test_an_answer_is_grounded_when_it_stands_in_the_text_as_whole_words(answer: str, text: str, grounded: bool):
    assert is_grounded(answer, ["nothing here", text]) is grounded


@pytest.mark.parametrize(
    ("answer", "grounded"),
    [
        ("-1002450", False),
        ("1,002.450 km²", False),
        ("1,002,450 m²", False),
        ("1.00245 million km²", True),
        ("1002450", True),
        ("1,002,450 km²", True),
        ("1.00245e6", True),
        ("100245", False),
        ("about a million", False),
    ],
)
def test_a_number_may_be_written_another_way(answer: str, grounded: bool):
    assert is_grounded(answer, [TEXT], question_type="numerical") is grounded


def test_a_number_is_found_in_a_text_without_spaces():
    assert is_grounded("1002450", ["面积为1002450平方公里"], question_type="numerical")
    assert not is_grounded("100245", ["面积为1002450平方公里"], question_type="numerical")


WORDS = st.text(st.characters(categories=("Ll", "Lo")), min_size=1, max_size=6).filter(
    lambda word: normalise_answer(word, normalisation="unicode") == word
)


@settings(deadline=None)
@given(words=st.lists(WORDS, min_size=1, max_size=6), data=st.data())
def test_every_word_of_a_text_is_grounded_in_it(words: list[str], data: st.DataObject):
    word = data.draw(st.sampled_from(words))
    assert is_grounded(word, [" ".join(words)])
    assert not is_grounded(word + "\u0436" * 40, [" ".join(words)])


def test_a_question_with_a_proposed_answer_is_right_by_it_and_consistent_by_the_second_answer():
    pair = replace(ASKED, answers=("Cairo",))
    right = judge("Cairo", pair, item_texts=[TEXT], answer_without_items="Giza", second_answer="Giza")
    assert (right["judge"], right["metric_score"], right["consistent"]) == ("proposed_answer", 1.0, False)
    wrong = judge("Giza", pair, item_texts=[TEXT], answer_without_items="Giza", second_answer="Giza")
    assert (wrong["metric_score"], wrong["consistent"], wrong["without_score"]) == (0.0, True, 1.0)


def test_a_seed_question_is_judged_by_the_metric_of_its_benchmark():
    people = ("cairo",) * 2 + ("giza",) * 8
    okvqa = replace(SEED, benchmark="okvqa", answers=people)
    verdict = judge("The Cairo", okvqa, item_texts=[TEXT], answer_without_items="giza")
    assert (verdict["judge"], verdict["without_score"]) == ("vqa_accuracy", 1.0)
    assert verdict["metric_score"] == pytest.approx((2 * 1 / 3 + 8 * 2 / 3) / 10)
    listed = replace(SEED, benchmark="encyclopedic-vqa", question_type="list", answers=("Cairo&&Giza&&Luxor",))
    verdict = judge("Luxor and Cairo", listed, item_texts=[TEXT], answer_without_items="Cairo")
    assert (verdict["judge"], verdict["metric_score"], verdict["without_score"]) == (
        "encyclopedic_exact_match",
        1.0,
        0.0,
    )
    with pytest.raises(ValueError, match="unknown benchmark: 'mine'; allowed are"):
        judge("Cairo", replace(SEED, benchmark="mine"), item_texts=[TEXT], answer_without_items="")
