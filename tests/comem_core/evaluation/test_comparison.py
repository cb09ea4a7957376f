"""Two sides on the same questions: differences, words, and what it would take to see one."""

import pytest

from comem_core.evaluation.comparison import ComparisonSettings, add_words, compare, count_questions_needed
from comem_core.evaluation.metrics.totals import HARMONIC

QUESTIONS = [
    {
        "question_id": f"q{number:02}",
        "split": "unseen_entity" if number < 4 else "unseen_question",
        "image_id": f"flag {number // 2}",
        "language": "en" if number % 2 else "ar",
    }
    for number in range(12)
]
NONE = {f"q{number:02}": float(number == 4) for number in range(12)}
MEMORY = {f"q{number:02}": float(number in (0, 1, 4, 5, 6, 7)) for number in range(12)}
HOW = ComparisonSettings(total=HARMONIC)


def by_split(rows: list[dict]) -> dict[str, dict]:
    return {row["split"]: row for row in rows}


def test_two_sides_are_compared_on_the_same_questions():
    rows = by_split(add_words(compare(MEMORY, NONE, QUESTIONS, HOW)))
    entity = rows["unseen_entity"]
    assert (entity["difference"], entity["n"], entity["changed"]) == (50.0, 4, 2)
    assert entity["word"] == "tied"  # two flags cannot show a difference
    assert by_split(compare(NONE, MEMORY, QUESTIONS, HOW))["unseen_entity"]["difference"] == -50.0
    assert set(rows) == {"unseen_entity", "unseen_question", "all"}


def test_only_common_questions_are_compared():
    rows = compare({"q00": 1.0, "q01": 1.0, "q02": 0.0}, {"q02": 1.0, "q01": 1.0}, QUESTIONS, HOW)
    assert [(row["split"], row["n"], row["difference"]) for row in rows] == [("unseen_entity", 2, -50.0)]
    with pytest.raises(ValueError, match="no question in common: 1 and 1 answers"):
        compare({"q00": 1.0}, {"q01": 1.0}, QUESTIONS, HOW)


def test_a_clear_difference_is_better_one_side_against_itself_is_tied_and_words_are_adjusted():
    questions = [QUESTIONS[0] | {"question_id": f"q{number}", "image_id": str(number)} for number in range(40)]
    right, wrong = ({row["question_id"]: mark for row in questions} for mark in (1.0, 0.0))
    pairs = [(right, wrong), (wrong, right), (wrong, wrong)]
    family = add_words([row for one, other in pairs for row in compare(one, other, questions, HOW)])
    assert [row["word"] for row in family] == ["better", "worse", "tied"]
    assert family[0]["p_adjusted"] == pytest.approx(3 * family[0]["p_value"])


def test_the_number_of_questions_needed_is_that_of_the_textbook():
    """G*Power, paired t-test, two-sided, alpha 0.05, power 0.8: dz = 0.5 needs 34 pairs, dz = 0.2 needs 199."""
    assert count_questions_needed([1.0, 0.0, -1.0, 0.0] * 0 + [0.5 + 1, 0.5 - 1]) == 34
    assert count_questions_needed([0.2 + 1, 0.2 - 1]) == 199
    assert count_questions_needed([0.0, 0.0]) is None
    assert count_questions_needed([1.0, 1.0]) is None  # every answer differs alike: nothing is left to chance
