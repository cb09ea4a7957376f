"""A-OKVQA's metrics on answers worked by hand."""

import pytest

from comem_core.evaluation.metrics import Gold
from comem_core.evaluation.metrics.aokvqa import DIRECT_ANSWER, MULTIPLE_CHOICE


@pytest.mark.parametrize(("matches", "score"), [(0, 0.0), (1, 1 / 3), (2, 2 / 3), (3, 1.0), (10, 1.0)])
def test_three_people_are_enough_and_none_is_left_out(matches: int, score: float):
    gold = Gold(answers=("ski",) * matches + ("snowboard",) * (10 - matches))
    assert DIRECT_ANSWER.score("ski", gold).correct == score


@pytest.mark.parametrize("answer", ["Ski", "ski.", "the ski", " ski"])
def test_a_direct_answer_is_compared_to_the_letter(answer: str):
    assert DIRECT_ANSWER.score(answer, Gold(answers=("ski",) * 10)).correct == 0.0


@pytest.mark.parametrize(
    ("answer", "correct", "unparsable"),
    [("bus", 1.0, False), ("tram", 0.0, False), ("Bus", 0.0, True), ("A", 0.0, True), ("", 0.0, True)],
)
def test_a_choice_is_an_options_own_text(answer: str, correct: float, unparsable: bool):
    scored = MULTIPLE_CHOICE.score(answer, Gold(options=("tram", "bus", "car", "train"), right_option=1))
    assert (scored.correct, scored.unparsable) == (correct, unparsable)


def test_what_cannot_be_scored_is_said():
    with pytest.raises(ValueError, match="no direct answers"):
        DIRECT_ANSWER.score("ski", Gold())
    with pytest.raises(ValueError, match="found 2 options and right_option=2"):
        MULTIPLE_CHOICE.score("bus", Gold(options=("bus", "tram"), right_option=2))
