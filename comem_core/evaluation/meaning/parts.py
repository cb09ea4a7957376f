"""Cuts a text into the parts that its meaning depends on: words, numbers with their units, and the signs that count."""

import unicodedata
from functools import lru_cache

import regex

from comem_core.evaluation.meaning import operators
from comem_core.evaluation.meaning.approximations import APPROXIMATE, count_letters_before, find_end_behind
from comem_core.evaluation.meaning.characters import UNSPACED, unify_characters
from comem_core.evaluation.meaning.compounds import RANGE, Part, add_smaller_units, share_units
from comem_core.evaluation.meaning.dates import find_date_or_time, order_dates
from comem_core.evaluation.meaning.formulas import CHARGE
from comem_core.evaluation.meaning.money import add_scale_of_money, find_currency
from comem_core.evaluation.meaning.numbers import NUMBER, Number, read_digits, read_number
from comem_core.evaluation.meaning.operators import LETTER
from comem_core.evaluation.meaning.vocabulary import AFTER_CHRIST, BEFORE_CHRIST, load_vocabulary

CENTURY, ERAS = "duration-century", {BEFORE_CHRIST: "before Christ", AFTER_CHRIST: "after Christ"}
ARTICLES = frozenset(("a", "an", "the"))
IGNORED = frozenset("`´¨|¦™®©")
CAPITAL_UNITS = "VWLANJ"  # others, glued to a number, are more often a name: 5G, 3D, 4K
LONGEST_WITH_MINUS = 4  # "pre-" and "Rio de-" are cut words

_WITHIN = rf"{LETTER}|\d(?:[.,](?=\d))?"
_WORD = regex.compile(rf"{LETTER}(?:{_WITHIN})*", regex.V1)
_JOINED_WORD = regex.compile(
    rf"{LETTER}(?:{_WITHIN}|[\p{{P}}--[&#@%]](?={LETTER})|[-–.](?=\d+(?![.,:/]?\d)))*", regex.V1
)
_CODE_WORD = regex.compile(rf"{LETTER}(?:{_WITHIN}|[-–](?=\d))*", regex.V1)
_WORDS = {True: _JOINED_WORD, False: _WORD, None: _CODE_WORD}
_MARK_WITHIN = regex.compile(r"[\p{L}\p{M}][^\p{L}\p{M}\p{N}\s]+[\p{L}\p{N}]|\p{N}[^\p{L}\p{M}\p{N}\s]+\p{L}")
_MARK_IN_WORD = regex.compile(r"(?<!\d)\p{P}|\p{P}(?!\d)")
# C++ and C#, A+ and O−, Ca²⁺, C♭
_TAIL = regex.compile(rf"\++(?![\p{{L}}\d])|#(?!\d)|[-−–](?=$|[\s\p{{P}}])|{CHARGE}|[♭♮](?!\p{{L}})")
_SENTENCE_START = regex.compile(r"(?<=^\W*|[.!?。\n]\W*)")
_WORD_FOLLOWS = regex.compile(r"[^\S\n]+\S")
_IS_SYMBOL = regex.compile(r"\p{S}")
_HAS_CONTENT = regex.compile(r"[\p{L}\p{N}]")

_SIGN = regex.compile(
    r"[-−–+](?=(?:\p{Lu}{0,3}\p{Sc}\s?|\p{Lu}{3}\s|%\s?)?[-−]?\.?\d)|−\s+(?=\p{Sc}?\d)|(?<=^|\n|[:=(]\s?)[-–]\s+(?=\p{Sc}?\d)"
)
_MINUS_WORD = regex.compile(
    r"(?i)(?<!\p{L})(?:minus|moins|menos|meno|минус|мінус|eksi|ناقص)\s+(?=[.\d])|(?:マイナス|零下|负|負)\s?(?=[.\d])"
)
_MAY_BEGIN_NUMBER = regex.compile(r"[\p{Lu}\p{N}\p{P}\p{S}mмeن公紀纪西기서マ零负負]")
_ERA_BEFORE = regex.compile(
    r"(?:(?P<before>公元前|紀元前|纪元前|西元前|기원전|(?<!\p{L})(?:B\.?\s?C\.?(?:\s?E\.?)?|M\.?Ö\.?)\s)"
    r"|公元|西元|西暦|서기|(?<!\p{L})A\.?\s?D\.?\s)\s?(?=\d)"
)
_ERA_LETTERS = frozenset("公紀纪西기서BMA")
_YEAR_SIGN = regex.compile(r"\s?[年년]")
_YEAR_WORD = regex.compile(r"\s?(?:г{1,2}\.|r\.(?=\s*$))(?!\p{L})")  # without its point "г" is a gram
_GLUED = regex.compile(rf"{LETTER}(?:{_WITHIN})*", regex.V1)
_DECADE = regex.compile(r"(?<=0)s")
_PREPOSITION = regex.compile(r"in\s+\p{L}")  # "2015 in Rome" is not inches
_BEFORE_UNIT = regex.compile(r"-(?=\p{L})|[^\S\n]?")


@lru_cache(maxsize=1 << 14)
def read_parts(text: str, *, joined: bool | None) -> tuple[Part, ...]:
    """Cut a text into parts; none if it says nothing: it is empty, an English article, or signs alone.

    `joined` says how punctuation between letters is read: "U.S." as one word or as two; None: as two, but a code as one
    (B-52).
    """
    if not joined and _is_joined_alike(text):
        return read_parts(text, joined=True)
    return tuple(_PartReader(unify_characters(text), word=_WORDS[joined]).read())


def _is_joined_alike(text: str) -> bool:
    """Tell whether a text has no mark within a word, so that it has one reading."""
    return not _MARK_WITHIN.search(text) and (text.isascii() or unicodedata.is_normalized("NFKC", text))


class _PartReader:
    """Reads a text from left to right; each method reads one kind of part at `place` and returns where it ends."""

    def __init__(self, text: str, *, word: regex.Pattern[str]):
        self.text, self.word = text, word
        self.place = 0
        self.parts: list[Part] = []
        self.has_letter_a = False
        self.has_operators = "/" in text or "*" in text

    def read(self) -> list[Part]:
        while self.place < len(self.text):
            if self.text[self.place] == " ":
                self.place += 1
                continue
            self.place = self._read_date() or self._read_number() or self._read_word() or self._read_sign()
        if ARTICLES.issuperset(self.parts):
            return ["a"] if self.has_letter_a else []
        if not any(isinstance(part, Number) or _HAS_CONTENT.search(part) for part in self.parts):
            return []
        share_units(self.parts)
        return order_dates(self.parts)

    def _read_date(self) -> int | None:
        if not self.text[self.place].isdigit() or (found := find_date_or_time(self.text, self.place)) is None:
            return None
        self._mark_approximate(self.place)
        behind = self._mark_approximate_behind(found[1])
        self.parts += found[0]
        return behind

    def _mark_approximate(self, place: int) -> None:
        """Put one mark for the words or the sign before `place` that make a number there approximate."""
        num_letters = count_letters_before(self.text, place)
        if num_letters is None or self.parts[-1:] == [RANGE]:
            return
        while self.parts and (self.parts[-1] == APPROXIMATE or num_letters > 0):
            num_letters -= sum(map(str.isalnum, str(self.parts.pop())))
        self.parts.append(APPROXIMATE)

    def _mark_approximate_behind(self, end: int) -> int:
        """Put the mark for words behind a number that make it approximate; returns where they end."""
        behind = find_end_behind(self.text, end)
        if behind and self.parts[-1:] != [APPROXIMATE]:
            self.parts.append(APPROXIMATE)
        return behind or end

    def _read_number(self) -> int | None:
        if not _MAY_BEGIN_NUMBER.match(self.text, self.place):
            return None
        era = self._match_era_before()
        start, is_negative = (era.end(), False) if era else self._skip_minus()
        unit, start, is_negative = self._read_currency(start, is_negative)
        if self.text[start : start + 1].isalpha() or (match := NUMBER.match(self.text, start)) is None:
            return None
        self._mark_approximate(self.place)
        if (read := self._read_scaled(match)) is None:  # 1,2,3
            first, *others = filter(None, map(read_digits, match["digits"].split(",")))
            self.parts += [_negate(first._replace(unit=unit), is_negative), *others]
            return match.end("digits")
        number, end = add_scale_of_money(self.text, *read, unit=unit)
        if not unit:
            glued = _GLUED.match(self.text, end)
            number, end = self._read_era_or_unit(number, end, era)
            if glued and (not number.unit or _is_name(self.text, glued)):
                self.parts.append("-" * is_negative + self.text[start : glued.end()].lower())
                return glued.end()
        else:
            number, end = number._replace(unit=unit), self._skip_unit(end, unit)
        end = self._mark_approximate_behind(end)
        self.parts.append(_negate(number, is_negative))
        return self._read_behind(end)

    def _match_era_before(self) -> regex.Match[str] | None:
        is_possible = self.text[self.place] in _ERA_LETTERS
        return _ERA_BEFORE.match(self.text, self.place) if is_possible else None

    def _skip_minus(self) -> tuple[int, bool]:
        """Return where a number may begin behind its sign, and whether the sign is a minus."""
        if sign := _MINUS_WORD.match(self.text, self.place):
            return sign.end(), True
        if (sign := _SIGN.match(self.text, self.place)) and self._is_sign(self.place, sign[0][0]):
            return sign.end(), sign[0][0] != "+"
        return self.place, False

    def _read_currency(self, start: int, is_negative: bool) -> tuple[str, int, bool]:
        """Return a currency before a number, where the number begins, and whether it is negative."""
        found = find_currency(self.text, start)
        if found is None:
            return "", start, is_negative
        unit, end = found
        has_minus = self.text[end] in "-−"
        return unit, end + has_minus, is_negative or has_minus

    def _skip_unit(self, end: int, unit: str) -> int:
        found, behind = self._read_unit(end)
        return behind if found == unit else end

    def _read_era_or_unit(self, number: Number, end: int, era: regex.Match[str] | None) -> tuple[Number, int]:
        """Read the era of a year, or the unit and what follows in smaller units."""
        if era:
            sign = _YEAR_SIGN.match(self.text, end)
            number = number.put_in_era(BEFORE_CHRIST if era["before"] else AFTER_CHRIST)
            return number, sign.end() if sign else end
        if (word := _YEAR_WORD.match(self.text, end)) and number.is_year:
            end = word.end()
        if found := load_vocabulary().find_era(self.text, self._skip_to_unit(end)):
            return number.put_in_era(found[0]), found[1]
        unit, end = self._read_unit(end)
        number = number._replace(unit=unit)
        return add_smaller_units(self.text, number, end) if unit else (number, end)

    def _is_sign(self, place: int, sign: str) -> bool:
        """Tell whether this dash is a minus, rather than a hyphen (B-52)."""
        before = self.text[place - 1] if place else " "
        if before in "约約":  # about
            return True
        return not before.isalnum() and before not in ")]%°" if sign != "−" else not before.isdigit()

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
        if _PREPOSITION.match(self.text, start) or operators.is_range_ahead(self.text, end):  # "5 bis 10"
            return "", end
        return load_vocabulary().find_unit(self.text, start) or ("", end)

    def _read_behind(self, end: int) -> int:
        """Read what joins this number to another one; returns where it ends."""
        if joint := operators.find_joint(self.text, end):
            self.parts.append(joint[0])
            return joint[1]
        return end

    def _read_word(self) -> int | None:
        if UNSPACED.match(self.text, self.place):
            is_behind_number = self.parts and isinstance(self.parts[-1], Number)
            month = load_vocabulary().find_month(self.text, self.place) if is_behind_number else None
            end = month[1] if month else self.place + 1
            self.parts.append(self.text[self.place : end].lower())
            return end
        behind_century = self.parts and load_vocabulary().words.get(str(self.parts[-1])) == CENTURY
        if behind_century and (found := load_vocabulary().find_era(self.text, self.place)):
            self.parts.append(ERAS[found[0]])
            return found[1]
        if self.has_operators and (operation := operators.find_operation(self.text, self.place)):
            self.parts += operation[0]
            return operation[1]
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
        if operators.is_minus_of_symbol(self.text, self.place):
            self.parts.append(operators.MINUS)
            return self.place + 1
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


def _negate(number: Number, is_negative: bool) -> Number:
    if not is_negative:
        return number
    return number._replace(amount=f"-{number.amount}" if isinstance(number.amount, str) else -number.amount)
