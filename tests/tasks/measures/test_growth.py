"""How costs grow: the exponent of a cost, and that each cost can be measured at a small size."""

import pytest

from tasks.measures.growth import COSTS, compute_exponent


@pytest.mark.parametrize(("after", "exponent"), [(10.0, 1.0), (100.0, 2.0), (1.0, 0.0)])
def test_the_exponent_is_that_of_ten_times_the_rows(after: float, exponent: float) -> None:
    assert compute_exponent(1.0, after) == pytest.approx(exponent)


@pytest.mark.parametrize("name", sorted(COSTS.keys() - {"ingest_text", "ingest_pictures"}))
def test_each_cost_is_that_of_making_so_many_rows(name: str) -> None:
    assert COSTS[name](2000) > 0
