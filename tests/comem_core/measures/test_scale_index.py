"""The measure of a large index, on a small one."""

import pytest

from comem_core.measures.scale_index import measure_index


def test_a_small_index_that_compares_all_finds_all() -> None:
    found = measure_index(num_vectors=600, width=16, num_queries=20, seed=0)
    assert found["index_recall_at_10"] == 1.0
    assert found["index_bytes"] == pytest.approx(600 * (16 * 4 + 8), rel=0.05)
    assert all(value > 0 for value in found.values())
    again = measure_index(num_vectors=600, width=16, num_queries=20, seed=0)
    assert again["index_bytes"] == found["index_bytes"]
