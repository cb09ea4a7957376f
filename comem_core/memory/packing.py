"""Cuts a batch into micro-batches that are computed one after another. It changes no result but by rounding."""

from collections.abc import Sequence


def pack_by_tokens(lengths: Sequence[int], budget: int | None) -> list[list[int]]:
    """Pack rows of some lengths into micro-batches of at most `budget` tokens, and return the places of their rows.

    The tokens of a micro-batch are its longest row's times its number of rows, padding included. Rows of like length
    are put together. A row that is longer than the budget is alone. Without a budget, all rows are one micro-batch.
    """
    if budget is None or max(lengths) * len(lengths) <= budget:
        return [list(range(len(lengths)))]
    packed: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if packed and lengths[packed[-1][0]] * (len(packed[-1]) + 1) <= budget:
            packed[-1].append(place)
        else:
            packed.append([place])
    return packed


def split_further(packed: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """Halve the micro-batches with the most rows until there are `count` of them; there must be as many rows."""
    found = [list(rows) for rows in packed]
    while len(found) < count:
        most = max(range(len(found)), key=lambda place: len(found[place]))
        rows = found[most]
        assert len(rows) > 1, f"{sum(map(len, found))} rows cannot be {count} micro-batches"
        found[most : most + 1] = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return found
