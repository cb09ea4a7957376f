"""Items that are there twice, against what comparing each with all before it finds."""

import numpy as np
import pytest

from comem_core.knowledge.duplicates import find_equal_items, find_near_items


@pytest.mark.parametrize(("num_items", "num_ids"), [(0, 1), (1, 1), (2, 1), (50, 1), (50, 20), (50, 1000), (200, 60)])
def test_of_equal_items_the_first_stays(num_items: int, num_ids: int) -> None:
    ids_N = np.random.default_rng(num_ids).integers(0, num_ids, num_items).astype(np.uint64)
    ids = ids_N.tolist()
    expected = [(place, ids.index(each), False) for place, each in enumerate(ids) if ids.index(each) < place]
    assert [*zip(*(column.tolist() for column in find_equal_items(ids_N)), strict=True)] == expected


def test_near_items_are_sought_among_equal_words_and_named_by_their_place_in_the_corpus() -> None:
    words_N = np.array([7, 5, 7, 7, 9, 5, 7], dtype=np.uint64)
    hashes_N2 = np.array([[0, 0], [1, 0], [3, 0], [-1, 0], [3, 0], [1, 2], [-1, 1]], dtype=np.int64)
    places_N = np.array([0, 2, 3, 5, 8, 9, 11])
    found = find_near_items(words_N, hashes_N2, places_N, max_bits=2)
    assert [*zip(*(column.tolist() for column in found), strict=True)] == [(3, 0, True), (9, 2, True), (11, 5, True)]
    assert len(find_near_items(words_N, hashes_N2, places_N, max_bits=0).again) == 0
