"""Cuts a text into the parts that its meaning depends on: words, numbers with their units, and the signs that count."""

from fractions import Fraction
from functools import lru_cache

import regex

from comem_core.evaluation.meaning.characters import UNSPACED, unify_characters
from comem_core.evaluation.meaning.dates import find_date_or_time, order_dates
from comem_core.evaluation.meaning.numbers import NUMBER, Number, read_digits, read_number
from comem_core.evaluation.meaning.vocabulary import load_vocabulary

Part = Number | str
RANGE = "–"
ARTICLES = frozenset(("a", "an", "the"))
IGNORED = frozenset("`´¨|¦™®©")
SHARING_A_UNIT = (RANGE, "×", "±")
CAPITAL_UNITS = "VWLANJ"  # others, glued to a number, are more often a name: 5G, 3D, 4K
LONGEST_WITH_MINUS = 4  # "pre-" and "Rio de-" are cut words

_LETTER = rf"(?:(?!{UNSPACED.pattern})[\p{{L}}\p{{M}}])"
_WITHIN = rf"{_LETTER}|\d(?:[.,](?=\d))?"
_WORD = regex.compile(rf"{_LETTER}(?:{_WITHIN})*", regex.V1)
_JOINED_WORD = regex.compile(
    rf"{_LETTER}(?:{_WITHIN}|[\p{{P}}--[&#@%]](?={_LETTER})|[-–.](?=\d+(?![.,:/]?\d)))*", regex.V1
)
_MARK_IN_WORD = regex.compile(r"(?<!\d)\p{P}|\p{P}(?!\d)")
_TAIL = regex.compile(r"\++(?![\p{L}\d])|#(?!\d)|[-−–](?=$|[\s\p{P}])")  # C++ and C#, A+ and O−
_SENTENCE_START = regex.compile(r"(?<=^\W*|[.!?。\n]\W*)")
_WORD_FOLLOWS = regex.compile(r"[^\S\n]+\S")
_IS_SYMBOL = regex.compile(r"\p{S}")
_HAS_CONTENT = regex.compile(r"[\p{L}\p{N}]")

_NUMBER_AHEAD = r"(?=[-−+]?\p{Sc}?\.?\d)"
_RANGE = regex.compile(
    rf"(?:\s*[—~]\s*|\.\.+|\s*(?:至|到|から)\s*|[-−–]|\s*[-−–]\s+|\s+(?:to|bis|à|до|a|al)\s+){_NUMBER_AHEAD}"
)
_TIMES = regex.compile(r"\s*[×x*]\s*(?=\d)")
_SIGN = regex.compile(rf"[-−–+]{_NUMBER_AHEAD}|−\s+(?=\d)|(?<=^|\n)[-–]\s+(?=\d)")
_MINUS_WORD = regex.compile(
    r"(?i)(?<!\p{L})(?:minus|moins|menos|meno|минус|мінус|eksi|ناقص)\s+(?=[.\d])|(?:マイナス|零下|负|負)\s?(?=[.\d])"
)
_CURRENCY = regex.compile(r"(?:\p{Lu}{0,3}\p{Sc}|\p{Lu}{3}(?=\s)|%)\s?(?=[-−]?\.?\d)")
_GLUED = regex.compile(rf"{_LETTER}(?:{_WITHIN})*", regex.V1)
_DECADE = regex.compile(r"(?<=0)s")
_PREPOSITION = regex.compile(r"in\s+\p{L}")  # "2015 in Rome" is not inches
_BEFORE_UNIT = regex.compile(r"-(?=\p{L})|[^\S\n]?")


@lru_cache(maxsize=1 << 14)
def read_parts(text: str, *, joined: bool = True) -> tuple[Part, ...]:
    """Cut a text into parts; none if it says nothing: it is empty, an English article, or signs alone.

    `joined` says how punctuation between letters is read: "U.S." as one word or as two.
    """
    return tuple(_PartReader(unify_characters(text), joined=joined).read())


class _PartReader:
    """Reads a text from left to right; each method reads one kind of part at `place` and returns where it ends."""

    def __init__(self, text: str, *, joined: bool):
        self.text, self.word = text, _JOINED_WORD if joined else _WORD
        self.place = 0
        self.parts: list[Part] = []
        self.has_letter_a = False

    def read(self) -> list[Part]:
        while self.place < len(self.text):
            self.place = self._read_date() or self._read_number() or self._read_word() or self._read_sign()
        if ARTICLES.issuperset(self.parts):
            return ["a"] if self.has_letter_a else []
        if not any(isinstance(part, Number) or _HAS_CONTENT.search(part) for part in self.parts):
            return []
        _share_units(self.parts)
        return order_dates(self.parts)

    def _read_date(self) -> int | None:
        if not self.text[self.place].isdigit() or (found := find_date_or_time(self.text, self.place)) is None:
            return None
        self.parts += found[0]
        return found[1]

    def _read_number(self) -> int | None:
        start, unit, is_negative = self.place, "", False
        if sign := _MINUS_WORD.match(self.text, start):
            is_negative, start = True, sign.end()
        elif self.text[start].isalpha() and not self.text[start].isupper():
            return None
        elif (sign := _SIGN.match(self.text, start)) and self._is_sign(start, sign[0][0]):
            is_negative, start = sign[0][0] != "+", sign.end()
        if found := _CURRENCY.match(self.text, start):
            unit = self._name_currency(found[0].strip())
            start = found.end() if unit else start
            if unit and self.text[start] in "-−":
                is_negative, start = True, start + 1
        if (match := NUMBER.match(self.text, start)) is None:
            return None
        if (read := self._read_scaled(match)) is None:
            self.parts += filter(None, map(read_digits, match["digits"].split(",")))  # 1,2,3
            return match.end("digits")
        number, end = read
        if not unit:
            glued = _GLUED.match(self.text, end)
            unit, end = self._read_unit(end)
            if glued and (not unit or _is_name(self.text, glued)):
                self.parts.append("-" * is_negative + self.text[start : glued.end()].lower())
                return glued.end()
        elif self._read_unit(end)[0] == unit:
            end = self._read_unit(end)[1]
        amount = number.amount
        if is_negative:
            amount = f"-{amount}" if isinstance(amount, str) else -amount
        self.parts.append(Number(amount, unit, number.zeros))
        return self._read_behind(end)

    def _is_sign(self, place: int, sign: str) -> bool:
        """Tell whether this dash is a minus, rather than a hyphen (B-52)."""
        before = self.text[place - 1] if place else " "
        return not before.isalnum() and before not in ")]%°" if sign != "−" else not before.isdigit()

    def _name_currency(self, prefix: str) -> str:
        vocabulary = load_vocabulary()
        known = vocabulary.symbols.get(prefix, "")
        if prefix.isalpha():
            return known if known.startswith("currency-") and prefix in vocabulary.common else ""
        return known or f"currency-{prefix}"

    def _read_scaled(self, match: regex.Match[str]) -> tuple[Number, int] | None:
        """Read a number with its scale words: 1.5 million, 1億2000万. None for a list of numbers."""
        number, end = read_number(match[0]), match.end()
        if number is None:
            number, end = read_digits(match["digits"]), match.end("digits")
        if number is None:
            return None
        while found := load_vocabulary().find_scale(self.text, self._skip_to_unit(end)):
            scale, end = found
            if isinstance(number.amount, str):
                return Number(f"{number.amount}×{scale}"), end
            amount = number.amount * scale
            following = NUMBER.match(self.text, end) if UNSPACED.match(self.text[end - 1]) else None
            if following and (rest := self._read_scaled(following)):
                if not isinstance(rest[0].amount, str) and rest[0].amount < scale:
                    return Number(amount + rest[0].amount), rest[1]
                return Number(amount), end
            number = Number(amount)
        return number, end

    def _skip_to_unit(self, end: int) -> int:
        """Skip the space or hyphen between a number and what belongs to it."""
        match = _BEFORE_UNIT.match(self.text, end)
        assert match is not None
        return match.end()

    def _read_unit(self, end: int) -> tuple[str, int]:
        """Return the unit behind a number and where it ends; without one, an empty unit and the number's end."""
        start = self._skip_to_unit(end)
        if self.text[end : end + 1] == '"' and self.text.count('"') % 2:
            return "length-inch", end + 1
        if _PREPOSITION.match(self.text, start):
            return "", end
        return load_vocabulary().find_unit(self.text, start) or ("", end)

    def _read_behind(self, end: int) -> int:
        """Read what joins this number to another one; returns where it ends."""
        for pattern, part in ((_RANGE, RANGE), (_TIMES, "×")):
            if match := pattern.match(self.text, end):
                self.parts.append(part)
                return match.end()
        if self.text[end : end + 1] in ("/", "+"):
            self.parts.append(self.text[end])
            return end + 1
        return end

    def _read_word(self) -> int | None:
        if UNSPACED.match(self.text, self.place):
            is_behind_number = self.parts and isinstance(self.parts[-1], Number)
            month = load_vocabulary().find_month(self.text, self.place) if is_behind_number else None
            end = month[1] if month else self.place + 1
            self.parts.append(self.text[self.place : end].lower())
            return end
        if (match := self.word.match(self.text, self.place)) is None:
            return None
        written, end = match[0], match.end()
        tail = _TAIL.match(self.text, end)
        if tail and (tail[0] not in "-−–" or len(written) <= LONGEST_WITH_MINUS):
            written, end = written + tail[0], tail.end()
            tailed = tail[0].replace("−", "-").replace("–", "-")
        else:
            tailed = ""
        word = _MARK_IN_WORD.sub("", match[0]).replace(",", ".").lower() + tailed
        self.has_letter_a |= written == "A"
        if not (word in ARTICLES and self._is_article(written, end)):
            self.parts.append(word)
        return end

    def _is_article(self, written: str, end: int) -> bool:
        """Tell whether a word follows; a capital within a sentence is a name: "Vitamin A is", "Ping An is"."""
        if not _WORD_FOLLOWS.match(self.text, end):
            return False
        return written not in ("A", "An") or _SENTENCE_START.match(self.text, self.place) is not None

    def _read_sign(self) -> int:
        sign, ahead = self.text[self.place], self.text[self.place + 1 : self.place + 3].strip()
        counts = _IS_SYMBOL.match(sign) and sign not in IGNORED and (sign not in "^~" or ahead[:1].isdigit())
        if counts:
            self.parts.append(sign)
        return self.place + 1


def _is_name(text: str, glued: regex.Match[str]) -> bool:
    """Tell whether letters behind digits make a name of them (5G), or a decade (1990s), rather than a quantity."""
    letters = glued[0]
    if len(letters) == 1 and letters.isupper():
        return letters not in CAPITAL_UNITS
    return letters == "s" and _DECADE.match(text, glued.start()) is not None


def _share_units(parts: list[Part]) -> None:
    """Give the first number of "5–10 °C" the unit of the second, and write the end of "1990–95" in full."""
    for place in range(len(parts) - 3, -1, -1):
        first, joint, second = parts[place : place + 3]
        if not isinstance(first, Number) or not isinstance(second, Number) or joint not in SHARING_A_UNIT:
            continue
        if not first.unit:
            parts[place] = first._replace(unit=second.unit)
        elif not second.unit and first.unit.startswith("currency"):
            parts[place + 2] = second._replace(unit=first.unit)
        if isinstance(first.amount, Fraction) and isinstance(second.amount, Fraction) and joint == RANGE:
            century = first.amount - first.amount % 100
            if 1000 <= first.amount <= 2999 and first.amount % 100 < second.amount < 100:
                parts[place + 2] = second._replace(amount=century + second.amount)
