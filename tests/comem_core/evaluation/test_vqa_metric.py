"""Both metrics on answers worked by hand."""

import pytest

from comem_core.evaluation.metrics import Gold
from comem_core.evaluation.metrics.encyclopedic import process_encyclopedic_answer, score_encyclopedic
from comem_core.evaluation.metrics.vqa import VQA_ACCURACY, process_vqa_answer, score_vqa, score_vqa_accuracy


@pytest.mark.parametrize(
    ("text", "processed"),
    [
        ("The Dog", "dog"),
        ("two dogs", "2 dogs"),
        ("None", "0"),
        ("dont know", "don't know"),
        ("couldnt've", "couldn't've"),
        ("couldntve", "couldntve"),  # two apostrophes short: the official table does not have it
        ("somebody'd", "somebodyd"),  # nor does it always add them
        ("it's", "it's"),
        ("black/white", "black white"),  # a sign between letters parts words
        ("black / white", "black white"),
        ("tennis, ball", "tennis ball"),  # a sign beside a space vanishes
        ("1,000", "1000"),  # with a comma between digits every sign vanishes
        ("3.5 m.", "3.5 m"),
        ("pick-up truck", "pick up truck"),
        ("  a\nbig\tcat ", "big cat"),
        ("x/y /z", "xy z"),  # beside a space once, it vanishes everywhere
        ("x/y\u00a0/z", "x y z"),  # only a plain space counts
        ("." * 33 + "x", ".x"),  # 32 periods at most
        ("?", ""),
    ],
)
def test_text_is_processed_as_the_official_code_does(text: str, processed: str):
    assert process_vqa_answer(text) == processed


@pytest.mark.parametrize(
    ("matches", "score"),
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)],
)
def test_the_score_leaves_each_of_ten_people_out_in_turn(matches: int, score: float):
    people = ["Surfing"] * matches + ["swimming"] * (10 - matches)
    assert score_vqa_accuracy("the surfing", people) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "score"),
    [("surfing board", 1.0), (" surfing\tboard\n", 1.0), ("the surfing board", 0.0), ("Surfing board", 0.0)],
)
def test_nothing_is_processed_where_all_people_agree(answer: str, score: float):
    assert score_vqa_accuracy(answer, ["surfing board"] * 10) == score
    assert score_vqa_accuracy(answer, ["surfing board"] * 9 + ["waves"]) == 1.0


def test_the_percentage_is_rounded_as_officially():
    """0.3 + 0.6 + 1.0 = 1.9 of 3 questions."""
    assert VQA_ACCURACY.percent([0.3, 0.6, 1.0]) == 63.33
    with pytest.raises(ValueError, match="no score"):
        VQA_ACCURACY.percent([])


def test_one_person_is_not_enough():
    with pytest.raises(ValueError, match="answers of ten people; found 1"):
        score_vqa_accuracy("cat", ["cat"])


def test_an_answer_that_says_nothing_is_unparsable():
    gold = Gold(answers=("cat",) * 10)
    assert score_vqa("?!", gold).unparsable and not score_vqa("dog", gold).unparsable
    assert score_vqa("cat", gold).correct == 1.0
    assert score_encyclopedic("", Gold(answers=("cat",))).unparsable


@pytest.mark.parametrize(
    ("answer", "answers", "right"),
    [
        ("The answer is Ten.", ("10",), True),
        ("True", ("yes",), True),
        ("grey heron", ("Ardea cinerea", "Grey Heron"), True),
        ("heron", ("grey heron",), False),
        ("", ("grey heron",), False),
    ],
)
def test_one_of_the_alternatives_is_to_be_met(answer: str, answers: tuple[str, ...], right: bool):
    assert score_encyclopedic(answer, Gold(answers=answers)).correct == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("France, Spain and Italy", True),
        ("spain & the Italy, France", True),
        ("France, Spain", True),  # 2 of 3
        ("France, Spain, Malta", True),  # 2 of 4
        ("France", False),  # 1 of 3
        ("France, Malta, Spain, Peru", False),  # 2 of 5
    ],
)
def test_a_list_is_right_where_it_overlaps_by_half(answer: str, right: bool):
    gold = Gold(question_type="list", answers=("France&&Spain&&Italy",))
    assert score_encyclopedic(answer, gold).correct == right


def test_punctuation_vanishes_and_articles_too():
    assert process_encyclopedic_answer("The St. John's-wort, an herb") == "st johnswort herb"
    with pytest.raises(ValueError, match="no gold answer"):
        score_encyclopedic("cat", Gold())
