"""The wording of pages: how conditions, numbers, sizes and times are written for a reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

NARROW = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
TOO_FEW = "too few clusters"
RIGHT_TO_LEFT = frozenset({"ar", "arc", "dv", "fa", "he", "ks", "ku", "ps", "sd", "ug", "ur", "yi"})


class ConditionWords:
    """The words and the order of conditions on pages, as the running code declares them (`warehouse.declared`)."""

    def __init__(self, rows: Sequence[Mapping] = ()):
        self._rows = {row["name"]: row for row in rows}
        self._places = {name: place for place, name in enumerate(self._rows)}

    def order(self, name: str) -> tuple[int, str]:
        """Return the sort key of a condition: the declared order, with undeclared conditions last."""
        return self._places.get(name, len(self._places)), name

    def phrase(self, name: str) -> str:
        """Return the phrase for a condition, or its name if it is not declared."""
        return self._rows[name]["phrase"] if name in self._rows else name

    def meaning(self, name: str, reader: Mapping) -> str:
        """Return the explanation of a condition for a reader (a row of the report `reader`)."""
        declared = self._rows.get(name, {"meaning": "Not described.", "text_only": None})
        if not reader["text_only"]:
            return declared["meaning"]
        if declared["text_only"]:
            return declared["text_only"]
        picture = "follows them" if reader["question_picture"] else "is left out"
        return f"{declared['meaning']} The memory of the question's own picture {picture}."


def order_metric(name: str) -> tuple[bool, str]:
    """Return the sort key of a metric; a judge's metrics come last."""
    return (name.startswith("judge:"), name)


def write_number(value: float | int | None) -> str:
    """Write a count or mean: 12 345; 96.3; a dash if there is none."""
    if value is None:
        return "–"
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}".replace(",", NARROW) if whole else f"{value:.3g}"


def write_percent(share: float | None, digits: int = 1) -> str:
    """Write a share between 0 and 1 in percent."""
    return "–" if share is None else f"{100 * share:.{digits}f}{NARROW}%"


def write_interval(
    low: float | None, high: float | None, write: Callable[[float], str] = lambda share: write_percent(share)
) -> str:
    """Write an interval, or why there is none."""
    return TOO_FEW if low is None or high is None else f"{write(low)} to {write(high)}"


def write_verdict(row: Mapping) -> str:
    """Write what scoring says of a difference; one that is tied for want of clusters is left open in plain words."""
    if row["word"] != "tied" or row["low"] is not None:
        return row["word"]
    return f"cannot be told with {write_number(row['n'])} question{'s' * (row['n'] != 1)}"


def write_points(difference: float) -> str:
    """Write a difference of shares in signed percentage points, without the word."""
    rounded = round(100 * difference, 1)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else ""
    return f"{sign}{abs(rounded):g}"


def write_duration(seconds: float | None) -> str:
    """Write a time: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f}{NARROW}s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest}{NARROW}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NARROW}h {minutes}{NARROW}min" if hours else f"{minutes}{NARROW}min {rest}{NARROW}s"


def write_size(num_bytes: int | None) -> str:
    """Write a size in bytes: 12 kB, 3.4 MB."""
    if num_bytes is None:
        return "–"
    value = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.3g}{NARROW}{unit}"


def write_moment(time: datetime | None) -> str:
    """Write a point in time, in its own zone, to the minute."""
    return "–" if time is None else time.strftime("%Y-%m-%d %H:%M %Z").strip()


def find_direction(language: str | None) -> str:
    """Return the `dir` of a language: rtl, ltr, or auto if the language is not known."""
    if not language:
        return "auto"
    return "rtl" if language.split("-")[0].lower() in RIGHT_TO_LEFT else "ltr"
