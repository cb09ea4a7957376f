"""Dates and times of day as parts of a text that are the same however they are written."""

from collections.abc import Sequence
from fractions import Fraction

import regex

from comem_core.evaluation.meaning.numbers import Number
from comem_core.evaluation.meaning.vocabulary import load_vocabulary

MONTH = "month {}"
_NUMERIC = regex.compile(
    r"(?P<year>\d{4})(?P<mark>[-./])(?P<month>\d\d?)(?P=mark)(?P<day>\d\d?)(?![\d.,]?\d)"
    r"|(?P<one>\d\d?)(?P<mark>[-./])\s?(?P<two>\d\d?)(?P=mark)\s?(?P<year>\d{4})(?![\d.,]?\d)"
    r"|(?:(?P<year>\d{4})\s?[年년]\s?)?(?P<month>\d\d?)\s?[月월](?:\s?(?P<day>\d\d?)\s?[日일])?"
)
_TIME = regex.compile(
    r"(?P<hour>\d\d?)(?:(?::|\s?h\s?)(?P<minute>\d\d)(?::(?P<second>\d\d))?(?![\d:]|,\d{3}|\s?(?:mn?|min\p{L}*|мин\p{L}*)(?!\p{L}))|\.(?P<minute>\d\d)(?=\s?(?:Uhr|[ap]\.?\s?m\b))"
    r"|\s?[時时點点시]\s?(?P<minute>\d\d?)\s?[分분])?"
    r"(?:\s?(?P<half>[ap])\.?\s?m\b\.?)?(?:\s?Uhr)?",
    regex.IGNORECASE,
)
_TERM = r"(?:\d{1,3}(?:[,' ]\d{3})+(?!\d)|\d+(?:\.\d+)?)"
_RATIO = regex.compile(rf"{_TERM}(?:(?::|\s:\s){_TERM})+")
_BETWEEN_DIGITS = regex.compile(r"[,' ]")
_ORDINAL = regex.compile(r"(\d{1,2})(?:st|nd|rd|th|er)")
JOINING = ("of", "de", "del", "di", "da")


def find_date_or_time(text: str, start: int) -> tuple[list[Number | str], int] | None:
    """Return the parts of a date or a time of day that begins at `start`, and where it ends."""
    if match := _NUMERIC.match(text, start):
        return _read_date(match), match.end()
    match = _TIME.match(text, start)
    if match and (match["minute"] or match["half"]) and (time := _read_time(match)):
        return [time], match.end()
    if match := _RATIO.match(text, start):
        terms = _BETWEEN_DIGITS.sub("", match[0]).split(":")
        return [":".join(regex.sub(r"^0+(?=\d)", "", each) for each in terms)], match.end()
    return None


def _read_date(match: regex.Match[str]) -> list[Number | str]:
    """Return year, month, day. With slashes or hyphens, 3/7/2015 is a day in March or in July, and stays as it is."""
    year, month, day = match["year"], match["month"], match["day"]
    if match["one"]:
        month, day = match["two"], match["one"]
        if int(month) > 12 or (match["mark"] != "." and int(day) <= 12 and month != day):
            month, day = day, month
            if int(month) <= 12 and int(day) <= 12:
                return [f"{int(match['one'])}/{int(match['two'])}/{year}"]
    if not 1 <= int(month) <= 12 or not 1 <= int(day or 1) <= 31:
        return [match[0]]
    numbers = [Number(Fraction(int(each))) for each in (year, day) if each]
    return [*numbers[: bool(year)], MONTH.format(int(month)), *numbers[bool(year) :]]


def _read_time(match: regex.Match[str]) -> str | None:
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    if match["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match["half"].lower() == "p" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return f"{hour}:{minute:02d}" + (f":{second:02d}" if second else "")


def order_dates(parts: Sequence[Number | str]) -> list[Number | str]:
    """Return the parts with each date that has a month's name as year, month, day: "7 March 2015" is 2015, 3, 7."""
    ordered = list(parts)
    place = 0
    while place < len(ordered):
        part = ordered[place]
        month = load_vocabulary().months.get(part) if isinstance(part, str) else None
        if month is not None:
            place = _order_date(ordered, place, month)
        place += 1
    return ordered


def _order_date(parts: list[Number | str], place: int, month: int) -> int:
    """Put the numbers around the name of a month in order; returns the place of the date's last part."""
    first, last = place, place
    if first and parts[first - 1] in JOINING and first > 1:
        first -= 1
    before = _read_day_or_year(parts[first - 1]) if first else None
    first = first - 1 if before else place
    following = parts[place + 1 :]
    skip = 1 if following and following[0] in JOINING else 0
    after = [_read_day_or_year(each) for each in following[skip : skip + 2]]
    named: dict[str, int] = dict([before] if before else [])
    for number in after:
        if number is None or number[0] in named:
            break
        named[number[0]] = number[1]
        last += 1
    last += skip if last > place else 0
    if not named:
        return place
    written: list[Number | str] = [Number(Fraction(named["year"]))] if "year" in named else []
    written += [MONTH.format(month)] + ([Number(Fraction(named["day"]))] if "day" in named else [])
    parts[first : last + 1] = written
    return first + len(written) - 1


def _read_day_or_year(part: Number | str) -> tuple[str, int] | None:
    written = str(part.amount) if isinstance(part, Number) and not part.unit and not part.zeros else part
    if isinstance(written, str) and (match := _ORDINAL.fullmatch(written)):
        written = match[1]
    if not isinstance(written, str) or not written.isdigit() or len(written) > len("2015"):
        return None
    number = int(written)
    if 1 <= number <= 31:
        return "day", number
    return ("year", number) if 1000 <= number <= 2999 else None
