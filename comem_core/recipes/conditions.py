"""Conditions that are asked together: checks them, and finds the one by which a number of items is chosen."""

from collections.abc import Sequence

from comem_core.evaluation.conditions import find_condition

TRIED = ("memory", "text")


def check_conditions(names: Sequence[str]) -> None:
    """Check conditions that are asked together. Raises ValueError for an unknown one, or where one chooses between the
    answers under others that are not asked."""
    for condition in map(find_condition, names):
        if missing := [each for each in condition.chooses or () if each not in names]:
            raise ValueError(
                f"{condition.name} chooses between the answers under {' and '.join(condition.chooses or ())}; name "
                f"{' and '.join(missing)} too"
            )


def find_condition_to_try(names: Sequence[str]) -> str:
    """Return the condition under which numbers of items are tried: `memory`, or `text` where memory is not asked.

    Raises ValueError if neither is asked.
    """
    for name in TRIED:
        if name in names:
            return name
    raise ValueError(
        f"a number of items (k_among) is chosen by the answers under {' or '.join(TRIED)}; found conditions "
        f"{', '.join(names)}. Name one of these too, or give k"
    )
