"""The words of the page: what each condition means, and how a number, a size, a time is written for a reader."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

NARROW = "\N{NARROW NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
RIGHT_TO_LEFT = frozenset({"ar", "arc", "dv", "fa", "he", "ks", "ku", "ps", "sd", "ug", "ur", "yi"})

CONDITIONS: Mapping[str, tuple[str, str]] = {  # name: (as a phrase, what it means), in the order of the page
    "none": ("without items", "The question and its image alone. What the frozen model knows by itself."),
    "text": (
        "items as text",
        "The retrieved items stand in the prompt as text and image: ordinary retrieval-augmented generation.",
    ),
    "memory": (
        "items as memory",
        "Each retrieved item is a few vectors that the trained encoder made of it once, ahead of any question.",
    ),
    "shuffled": (
        "memories of other questions",
        "A control: as many memories, but of another question's items. Should be no better than no items.",
    ),
    "foreign": ("memories of another corpus", "A control: memories of items from a different corpus."),
    "empty": (
        "empty memories",
        "A control: as many vectors, with nothing learned in them. Shows what the mere presence of vectors does.",
    ),
    "oracle": (
        "memory of the right item",
        "An upper bound: the memory of the one item that holds the answer, as if retrieval never failed.",
    ),
}

# Of a reader that sees no pictures, where a meaning is another one.
TEXT_ONLY: Mapping[str, str] = {
    "none": "The question alone. What the frozen language model knows by itself; it sees no picture.",
    "text": "The retrieved items stand in the prompt as text alone: ordinary retrieval-augmented generation.",
}


def meaning(condition: str, reader: Mapping) -> str:
    """Say what a condition means for a reader (a row of the report reader)."""
    means = CONDITIONS.get(condition, ("", "Not described."))[1]
    if not reader["text_only"]:
        return means
    if condition in TEXT_ONLY:
        return TEXT_ONLY[condition]
    picture = "stands behind them" if reader["question_picture"] else "is left out"
    return f"{means} The memory of the question's own picture {picture}."


def condition_order(name: str) -> tuple[int, str]:
    """Sort key: the order above, unknown conditions last."""
    names = list(CONDITIONS)
    return (names.index(name) if name in CONDITIONS else len(names), name)


def metric_order(name: str) -> tuple[bool, str]:
    """Sort key: a judge's metric behind the others."""
    return (name.startswith("judge:"), name)


def phrase(condition: str) -> str:
    """Say a condition in words."""
    return CONDITIONS.get(condition, (condition, ""))[0]


def number(value: float | int | None) -> str:
    """Write a count or mean: 12 345; 96.3; a dash when there is none."""
    if value is None:
        return "–"
    whole = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}".replace(",", NARROW) if whole else f"{value:.3g}"


def percent(share: float | None, digits: int = 1) -> str:
    """Write a share between 0 and 1 in percent."""
    return "–" if share is None else f"{100 * share:.{digits}f}{NARROW}%"


def points(difference: float) -> str:
    """Write a difference of shares in signed percentage points, without the word."""
    rounded = round(100 * difference, 1)
    sign = "+" if rounded > 0 else MINUS if rounded < 0 else ""
    return f"{sign}{abs(rounded):g}"


def duration(seconds: float | None) -> str:
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


def size(num_bytes: int | None) -> str:
    """Write a size in bytes: 12 kB, 3.4 MB."""
    if num_bytes is None:
        return "–"
    value = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.3g}{NARROW}{unit}"


def moment(time: datetime | None) -> str:
    """Write a point in time, in its own zone, to the minute."""
    return "–" if time is None else time.strftime("%Y-%m-%d %H:%M %Z").strip()


def direction(language: str | None) -> str:
    """Return the `dir` of a language: rtl, ltr, or auto when it is not known."""
    if not language:
        return "auto"
    return "rtl" if language.split("-")[0].lower() in RIGHT_TO_LEFT else "ltr"
