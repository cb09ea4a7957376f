"""Checks conditions that are asked together."""

from collections.abc import Sequence

from comem_core.evaluation.conditions import find_condition


def check_conditions(names: Sequence[str]) -> None:
    """Check conditions that are asked together. Raises ValueError for an unknown one, or where one chooses between the
    answers under others that are not asked."""
    for condition in map(find_condition, names):
        if missing := [each for each in condition.chooses or () if each not in names]:
            raise ValueError(
                f"{condition.name} chooses between the answers under {' and '.join(condition.chooses or ())}; name "
                f"{' and '.join(missing)} too"
            )
