"""How many seed questions a run takes."""

from dataclasses import replace

import pytest

from comem_core.recipes import find_recipe
from tasks.data.questions import Seeds
from tasks.engine.context import Context


@pytest.mark.parametrize(("wanted", "at_most", "taken"), [(1200, None, 1200), (1200, 5, 5), (3, 5, 3), (1200, 0, 0)])
def test_the_least_of_what_is_wanted_and_allowed_is_taken(
    context: Context, wanted: int, at_most: int | None, taken: int
) -> None:
    recipe = replace(find_recipe("tiny_cpu").synthesis, num_seed_questions=wanted, max_samples=at_most)
    assert sum(Seeds.of(recipe, context).shares) == taken
