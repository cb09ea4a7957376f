"""Exact match and F1 of words on answers worked by hand."""

import pytest

from comem_core.evaluation.metrics import Gold
from comem_core.evaluation.metrics.squad import EXACT_MATCH, TOKEN_F1


@pytest.mark.parametrize(
    ("answer", "exact", "f1"),
    [
        ("The Beatles!", 1.0, 1.0),
        ("beatles band", 0.0, 2 / 3),  # precision 1/2, recall 1
        ("Fab", 0.0, 2 / 3),  # of "Fab Four": precision 1, recall 1/2
        ("four four fab", 0.0, 0.8),  # precision 2/3, recall 1: a word counts as often as it stands
        ("Queen", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_the_closest_alias_counts(answer: str, exact: float, f1: float):
    gold = Gold(answers=("Beatles", "Fab Four"))
    assert EXACT_MATCH.score(answer, gold).correct == exact
    assert TOKEN_F1.score(answer, gold).correct == pytest.approx(f1)


def test_nothing_equals_nothing_but_shares_no_word():
    """As SQuAD v1.1 has it; version 2 gives both 1."""
    gold = Gold(answers=("The",))
    assert EXACT_MATCH.score("a", gold).correct == 1.0
    assert TOKEN_F1.score("a", gold).correct == 0.0
    assert EXACT_MATCH.score("a", gold).unparsable


def test_percentages_are_means():
    assert TOKEN_F1.percent([1.0, 0.8, 0.0]) == 60.0
    with pytest.raises(ValueError, match="no gold answer"):
        EXACT_MATCH.score("x", Gold())
    with pytest.raises(ValueError, match="no gold answer"):
        TOKEN_F1.score("x", Gold())
