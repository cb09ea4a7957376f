"""Ranks of right items: which search is best, and what counts as found."""

import pytest

from comem_core.evaluation.held_out.searches import (
    average_reciprocal_rank,
    find_rank,
    mark_found,
    order_searches,
    score_searches,
)


def test_a_rank_counts_from_one_and_what_was_not_retrieved_has_none() -> None:
    assert [find_rank(["a", "b", "c"], each) for each in ({"a"}, {"c", "b"}, {"d"}, ())] == [1, 2, None, None]
    assert find_rank([], {"a"}) is None


def test_found_is_what_is_among_the_first_k() -> None:
    ranks = [1, 3, None, 2]
    assert [sum(mark_found(ranks, k)) for k in (1, 2, 3, 10)] == [1, 2, 3, 3]
    assert average_reciprocal_rank(ranks) == pytest.approx((1 + 1 / 3 + 1 / 2) / 4)
    with pytest.raises(ValueError, match="at least one"):
        average_reciprocal_rank([])


def test_the_best_search_finds_most_among_the_first_k_and_then_ranks_them_best() -> None:
    found = {"late": [3, 3, 3], "early": [1, 1, 3], "first or never": [1, 1, None], "the same": [1, 1, 3]}
    assert order_searches(found, 3) == ["early", "the same", "late", "first or never"]
    assert order_searches(found, 1) == ["early", "the same", "first or never", "late"]


def test_each_language_has_rows_of_its_own_and_only_whole_rows_are_compared_with_the_best() -> None:
    found = {"good": [1, 1, 2, None] * 10, "bad": [None, 3, 4, None] * 10}
    languages, clusters = ["de", "de", "zh", "zh"] * 10, [str(number) for number in range(40)]
    rows = list(score_searches(found, languages, clusters, numbers=(1, 3), shown=3))
    assert [(row["search"], row["place"]) for row in rows[::6]] == [("good", 1), ("bad", 2)]
    share = {(row["search"], row["language"], row["k"]): (row["found"], row["n"]) for row in rows}
    assert share["good", None, 1] == (0.5, 40) and share["good", None, 3] == (0.75, 40)
    assert share["good", "de", 1] == (1.0, 20) and share["good", "zh", 1] == (0.0, 20)
    assert share["bad", "de", 3] == (0.5, 20) and share["bad", "zh", 3] == (0.0, 20)
    [compared] = [row for row in rows if "word" in row]
    assert (compared["search"], compared["language"], compared["k"]) == ("bad", None, 3)
    assert compared["difference"] == pytest.approx(-0.5) and compared["word"] == "worse"
    assert compared["difference_low"] < -0.5 < compared["difference_high"] < 0


def test_searches_that_find_the_same_are_tied() -> None:
    rows = score_searches(
        {"one": [1, None] * 10, "two": [2, None] * 10}, ["de"] * 20, [*"abcdefghij"] * 2, numbers=(3,), shown=3
    )
    assert [(row["search"], row.get("word")) for row in rows if row["language"] is None] == [
        ("one", None),
        ("two", "tied"),
    ]
