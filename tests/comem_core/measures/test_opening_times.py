"""The measure of opening: both ways answer the same, and both times are those of whole processes."""

import pytest

from comem_core.measures.opening import NUM_ITEMS, measure_opening
from comem_core.worlds.countries.world import load_knowledge_items


@pytest.mark.slow
def test_both_ways_answer_the_same_question_alike() -> None:
    assert len(load_knowledge_items()) == NUM_ITEMS
    times = measure_opening(repeats=1, num_items=20)
    assert times.opened > 0 and times.encoded > 0
