"""The choice of a number of items by scores of held-out questions."""

import pytest

from comem_core.evaluation.held_out.number_of_items import choose_number


@pytest.mark.parametrize(
    ("scores", "max_loss", "chosen"),
    [
        ({1: 0.9, 3: 0.8}, 0.0, 1),
        ({1: 0.8, 3: 0.9}, 0.0, 3),
        ({1: 0.895, 3: 0.9, 10: 0.8}, 0.005, 1),  # as few as lose no more than may be lost, the bound included
        ({1: 0.894, 3: 0.9, 10: 0.902}, 0.005, 3),  # the loss counts against the best, not against the next
        ({10: 0.5, 3: 0.5, 5: 0.5}, 0.0, 3),  # equal ones: the fewest, in whatever order they are named
        ({1: 0.1 + 0.2, 3: 0.3}, 0.0, 1),  # rounding decides nothing
        ({1: 0.3, 3: 0.1 + 0.2}, 0.0, 1),
        ({7: 0.0}, 0.5, 7),
    ],
)
def test_the_fewest_items_that_lose_next_to_nothing_are_chosen(scores: dict[int, float], max_loss: float, chosen: int):
    assert choose_number(scores, max_loss=max_loss) == chosen


def test_nothing_can_be_chosen_of_nothing():
    with pytest.raises(ValueError, match="no number of items was tried"):
        choose_number({}, max_loss=0.0)
