"""Two sides on the same questions: differences, words, and what it would take to see one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.evaluation.comparison import (
    ComparisonSettings,
    add_words,
    adjust_by_holm,
    compare,
    count_questions_needed,
)
from comem_core.evaluation.metrics.totals import HARMONIC
from comem_core.evaluation.statistics import Difference, Resampling, compare_pairs

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


def draw_difference(mean: float, *, num_clusters: int, copies: int = 1) -> Difference:
    """Make a difference of marks with the standard deviation 1 between clusters, which have `copies` of one mark."""
    spread = np.sqrt((num_clusters - 1) / num_clusters)
    marks = np.repeat([mean + spread, mean - spread] * (num_clusters // 2), copies)
    clusters = [str(row // copies) for row in range(len(marks))]
    return compare_pairs(marks, np.zeros(len(marks)), clusters, resampling=Resampling(num_swaps=9))


def test_the_number_of_questions_needed_is_that_of_the_textbook():
    """G*Power, paired t-test, two-sided, alpha 0.05, power 0.8: dz = 0.5 needs 34 pairs, dz = 0.2 needs 199."""
    assert count_questions_needed(draw_difference(0.5, num_clusters=20)) == 34
    assert count_questions_needed(draw_difference(0.2, num_clusters=50)) == 199
    equal, ahead = ([1.0] * 20, [0.0] * 20), ([1.0, 0.0] * 10, [1.0, 0.0] * 10)
    for first, second in (equal, ahead):  # every cluster differs alike, or none: nothing is left to chance
        assert count_questions_needed(compare_pairs(first, second, [str(row) for row in range(20)])) is None


@pytest.mark.parametrize("effect", [10.0**power for power in range(-30, 16, 3)])
def test_an_effect_of_any_size_has_a_number_of_questions_that_can_be_stored_or_none(effect: float):
    found = Difference(value=effect, low=None, high=None, p_value=1.0, n=40, num_clusters=20, standard_error=20**-0.5)
    needed = count_questions_needed(found)  # in clusters of two questions
    if effect < 1e-4:
        assert needed is None
    else:
        assert needed is not None and 4 <= needed < 10**11
        assert needed == 4 or effect < 10


def test_two_totals_of_nearly_nothing_are_compared():
    """A harmonic mean with a split of which all is wrong is next to 0, and so is the difference of two such means."""
    clusters, splits = [str(row) for row in range(40)], ["seen"] * 20 + ["unseen"] * 20
    first, second = [1.0, 1.0] + [0.0] * 38, [1.0] + [0.0] * 39
    found = compare_pairs(first, second, clusters, splits=splits, resampling=Resampling(num_swaps=9))
    assert 0 < abs(found.value) < 1e-9
    assert count_questions_needed(found) is None


def test_questions_that_say_the_same_are_needed_as_often_as_there_are_copies():
    assert count_questions_needed(draw_difference(0.5, num_clusters=20, copies=5)) in range(33 * 5, 34 * 5 + 1)


def test_holm_agrees_with_the_textbook():
    """R: p.adjust(c(.01, .04, .03, .005), "holm") is 0.03 0.06 0.06 0.02."""
    assert adjust_by_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_by_holm([0.6, 0.7]) == [1.0, 1.0]
    assert adjust_by_holm([]) == []


@settings(deadline=None, max_examples=20)  # each is 50 ms in statsmodels
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]):
    adjusted = adjust_by_holm(p_values)
    assert all(after >= before for before, after in zip(p_values, adjusted, strict=True))
    by_p = [adjusted[place] for place in sorted(range(len(p_values)), key=lambda place: p_values[place])]
    assert by_p == sorted(by_p)
