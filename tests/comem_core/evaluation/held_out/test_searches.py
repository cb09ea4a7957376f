"""Ranks of right items: which search is best, and what counts as found."""

import pytest

from comem_core.evaluation.held_out.searches import average_reciprocal_rank, find_rank, mark_found, order_searches


def test_a_rank_counts_from_one_and_what_was_not_retrieved_has_none() -> None:
    assert [find_rank(["a", "b", "c"], each) for each in ("a", "c", "d")] == [1, 3, None]
    assert find_rank([], "a") is None


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
