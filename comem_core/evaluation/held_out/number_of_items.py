"""The number of items to show, chosen by how held-out questions were answered with several.

More items are not better: each further one is less likely to be the right one, and may mislead the reader.
"""

from collections.abc import Mapping


def choose_number(scores: Mapping[int, float], *, max_loss: float) -> int:
    """Return the fewest items whose score is at most `max_loss` below the best one's.

    `scores` maps numbers of items to the mean mark of the same questions (shares of 1).

    Raises:
        ValueError: there are no scores.
    """
    if not scores:
        raise ValueError("no number of items was tried; name at least one")
    return min(k for k, score in scores.items() if score >= max(scores.values()) - max_loss - 1e-9)
