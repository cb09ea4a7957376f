"""Words of many languages that belong to a number: units, currencies, scale words and months, from Unicode's CLDR.

CLDR (in Babel) has the words, Pint the sizes of units. Where a word means two things, English decides; where languages
other than English disagree, the word means nothing here.
"""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import regex

from comem_core.evaluation.meaning.characters import UNSPACED, unify_characters
from comem_core.evaluation.meaning.prefixes import has_other_prefix, list_prefixed_units

LANGUAGES = (
    "en", "en_GB", "af", "am", "ar", "as", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "es",
    "et", "eu", "fa", "fi", "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "is", "it", "ja", "ka",
    "kk", "km", "kn", "ko", "ky", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "my", "nb", "ne", "nl", "nn",
    "or", "pa", "pl", "ps", "pt", "ro", "ru", "si", "sk", "sl", "sq", "sr", "sr_Latn", "sv", "sw", "ta", "te", "th",
    "tr", "uk", "ur", "uz", "vi", "zh", "zh_Hant", "zu",
)  # fmt: skip
# What people write and CLDR leaves out. A bare "$" is the US dollar and a bare "¥" the yen, as in CLDR's English.
MORE_UNITS = {
    "s": "duration-second", "h": "duration-hour", "l": "volume-liter", "kmh": "speed-kilometer-per-hour",
    "°": "angle-degree", "sqm": "area-square-meter", "sq m": "area-square-meter", "sq km": "area-square-kilometer",
    "KM": "length-kilometer", "Km": "length-kilometer", "KG": "mass-kilogram", "Kg": "mass-kilogram",
    "CM": "length-centimeter", "kph": "speed-kilometer-per-hour", "′": "length-foot", "′′": "length-inch",
    "US$": "currency-USD", "dollar": "currency-USD", "dollars": "currency-USD", "yen": "currency-JPY",
    "円": "currency-JPY", "yuan": "currency-CNY", "元": "currency-CNY", "руб": "currency-RUB", "₽": "currency-RUB",
    "₺": "currency-TRY", "₴": "currency-UAH", "₸": "currency-KZT", "฿": "currency-THB", "zł": "currency-PLN",
    "Kč": "currency-CZK", "lbs": "mass-pound", "hrs": "duration-hour", "secs": "duration-second",
    "mins": "duration-minute", "yds": "length-yard", "kgs": "mass-kilogram", "kms": "length-kilometer",
    "cc": "volume-cubic-centimeter", "micron": "length-micrometer", "microns": "length-micrometer",
    "um": "length-micrometer", "ug": "mass-microgram", "Nm": "torque-newton-meter", "KB": "digital-kilobyte",
}  # fmt: skip
MORE_SCALES = {
    "tsd": 10**3, "lakh": 10**5, "lakhs": 10**5, "crore": 10**7, "crores": 10**7, "萬": 10**4, "bn": 10**9,
    "Md": 10**9, "Mds": 10**9,
}  # fmt: skip
# Codes of currencies that stand before a number and are no words of a language (as TOP, ALL, MAD and PEN are).
CODES = frozenset(
    (
        "AED", "ARS", "BDT", "BGN", "BHD", "CHF", "CLP", "CZK", "DKK", "EGP", "HUF", "IDR", "ISK", "JOD", "KES", "KWD",
        "KZT", "LKR", "MYR", "NGN", "NOK", "NPR", "OMR", "PKR", "PLN", "QAR", "RSD", "RUB", "SAR", "SEK", "SGD", "THB",
        "TND", "UAH", "UZS", "ZAR",
    )
)  # fmt: skip
# Abbreviations of scales that are words too, so that a point behind them may end a sentence.
WORDS_TOO = frozenset(("bil", "bill", "bio", "mia", "mil", "mill", "ming", "tis", "tri", "tuh"))
ERA, BEFORE_CHRIST, AFTER_CHRIST = "era", -1, 1
MORE_ERAS = {
    "BCE": BEFORE_CHRIST, "bc": BEFORE_CHRIST, "bce": BEFORE_CHRIST, "CE": AFTER_CHRIST, "vuZ": BEFORE_CHRIST,
    "nuZ": AFTER_CHRIST, "avantnotreère": BEFORE_CHRIST, "avantJC": BEFORE_CHRIST,
    "aprèsJC": AFTER_CHRIST, "denotreère": AFTER_CHRIST, "avnè": BEFORE_CHRIST,
    "AEC": BEFORE_CHRIST, "aEC": BEFORE_CHRIST, "ईपू": BEFORE_CHRIST,
    "beforethecommonera": BEFORE_CHRIST,
}  # fmt: skip
NO_ERAS = frozenset(("не", "इस"))  # "not" and "this"
SHORT_ERAS = frozenset(("BC", "AD", "aC", "dC", "MÖ"))  # others of two Latin letters are more often something else
# Units of persons' ages, and others that have the words of a common unit.
LEFT_OUT = ("-person", "-milliinch", "temperature-generic", "graphics-dot", "length-point")
NOT_CONVERTED = (ERA, "currency", "concentr", "energy-gray", "energy-sievert")  # the last two have one base unit
SHORTEST = 3  # shorter words in Latin letters are more often something else; symbols are English's, as the SI's are
_LATIN = regex.compile(r"\p{Latin}")


class Vocabulary(NamedTuple):
    """Maps words to their meanings: symbols as they are written, words in lower case. `common` has the codes of
    currencies that CLDR gives a symbol of their own; other codes before a number may be words (ALL 5, TOP 10).
    `longest` has the length of the longest name of each kind by its first letter."""

    symbols: dict[str, str]
    words: dict[str, str]
    common: frozenset[str]
    scales: dict[str, int]
    months: dict[str, int]
    eras: dict[str, int]
    longest: dict[str, dict[str, int]]

    def find_unit(self, text: str, start: int) -> tuple[str, int] | None:
        """Return the unit whose name begins at `start`, and where the longest such name ends."""
        found = _find_longest(text, start, (self.symbols, self.words), self.longest["units"])
        return None if found and has_other_prefix(text[start : found[1]], found[0]) else found

    def find_scale(self, text: str, start: int) -> tuple[int, int] | None:
        """Return the scale (a million) whose word begins at `start`, and where the longest such word ends."""
        return _find_longest(text, start, (self.scales, self.scales), self.longest["scales"])

    def find_era(self, text: str, start: int) -> tuple[int, int] | None:
        """Return `BEFORE_CHRIST` or `AFTER_CHRIST` if words of an era begin at `start`, and where they end."""
        if text[start : start + 1] not in self.longest["eras"]:
            return None
        written, found, match = "", None, _ERA_WORDS.match(text, start)
        for end in range(start, match.end() if match else start):
            if not _ERA_MARK.match(sign := text[end]):
                written += sign
                if (era := self.eras.get(written) or (len(written) > 4 and self.eras.get(written.lower()))) and (
                    _is_word_boundary(text, end + 1)
                ):
                    found = era, end + 1
        return found

    def find_month(self, text: str, start: int) -> tuple[int, int] | None:
        """Return the month whose name begins at `start`, and where the longest such name ends."""
        return _find_longest(text, start, ({}, self.months), self.longest["months"])


@lru_cache(maxsize=1)
def load_vocabulary() -> Vocabulary:
    """Collect the words of all languages; takes about a second, once in a process."""
    found = [_read_language(code) for code in LANGUAGES]
    symbols, words, scales, months, short_scales, eras = (_agree(each) for each in zip(*found, strict=True))
    named = {unit.removeprefix("currency-") for symbol, unit in symbols.items() if not symbol.isalpha()}
    common = frozenset(code for code in symbols if code in named) | CODES
    symbols |= MORE_UNITS
    symbols = list_prefixed_units() | symbols
    scales = {word: scale for word, scale in scales.items() if word not in symbols and word not in words}
    eras |= {name.lower(): era for name, era in eras.items() if len(name) > 4}
    scales, eras = short_scales | scales | MORE_SCALES, eras | MORE_ERAS
    kinds = {"units": [*symbols, *words], "scales": scales, "months": months, "eras": eras}
    longest = {kind: _find_lengths(names) for kind, names in kinds.items()}
    return Vocabulary(symbols, words, common, scales, months, eras, longest)


def _find_lengths(names: Iterable[str]) -> dict[str, int]:
    """Return the length of the longest name by its first letter, in lower case and as it is."""
    found: dict[str, int] = {}
    for name in names:
        for first in {name[0], name[0].lower(), name[0].upper()}:
            found[first] = max(found.get(first, 0), len(name))
    return found


def measure_amount(amount: Fraction, unit: str) -> tuple[str, Fraction]:
    """Return a kind of quantity and an amount in its base unit, so that 3.5 km and 3500 m are the same."""
    kind, factor, offset = _load_conversion(unit)
    return kind, amount * factor + offset


@lru_cache(maxsize=1)
def _load_units() -> Any:
    import pint  # takes a second, and only quantities need it

    return pint.UnitRegistry(non_int_type=Fraction)  # pyright: ignore[reportArgumentType]  as Pint's manual does


@lru_cache(maxsize=1024)
def _load_conversion(unit: str) -> tuple[str, Fraction, Fraction]:
    """Return the kind, factor and offset of one of CLDR's units; one that Pint does not know is a kind of its own."""
    from pint import PintError

    kind, _, name = unit.partition("-")
    if unit.startswith(NOT_CONVERTED):
        return unit, Fraction(1), Fraction(0)
    named = {"celsius": "degC", "fahrenheit": "degF"}.get(name, name.replace("-per-", " / "))
    named = regex.sub(r"(square|cubic)-(\w+)", lambda found: f"{found[2]} ** {2 if found[1] == 'square' else 3}", named)
    named = named.replace("-", "_")
    try:
        none, one = (_load_units().Quantity(Fraction(number), named).to_base_units() for number in (0, 1))
    except (PintError, ValueError, TypeError):  # no such unit, a number in its name (per 100 km), or a logarithmic one
        return unit, Fraction(1), Fraction(0)
    base = " ".join(f"{name}^{power}" for name, power in sorted(none.unit_items()))
    return f"{kind} {base}", one.magnitude - none.magnitude, Fraction(none.magnitude)


def _read_language(code: str) -> tuple[dict[str, set], ...]:
    """Return one language's symbols, words, scales, months, abbreviated scales and eras with their meanings."""
    from babel import localedata

    loaded: dict[str | int | None, Any] = {**localedata.load(code)}
    data = localedata.LocaleDataDict(loaded)
    symbols, words, scales, months = {}, {}, {}, {}
    for unit, length, name in _list_unit_names(data):
        is_short = length == "short"
        if code != "en" and _LATIN.match(name) and (is_short or len(name) < SHORTEST):
            continue
        named = symbols if is_short else words
        for each in {name, name.replace("^", "")}:
            named.setdefault(each if is_short else each.lower(), set()).add(unit)
    if code == "en":
        for currency, symbol in data["currency_symbols"].items():
            for each in {unify_characters(symbol), currency}:
                symbols.setdefault(each, set()).add(f"currency-{currency}")
    for currency, names in data.get("currency_names_plural", {}).items():
        for name in names.values():
            words.setdefault(unify_characters(name).lower(), set()).add(f"currency-{currency}")
    for size, pattern in _list_scale_patterns(data):
        word = regex.sub(r"[0'.\s]+", " ", unify_characters(pattern)).strip().lower()
        if "0" in pattern and word and (len(word) >= SHORTEST or not _LATIN.match(word)):
            scales.setdefault(word, set()).add(int(size) // 10 ** (pattern.count("0") - 1))
    for context in ("format", "stand-alone"):
        for width in ("wide", "abbreviated"):
            for month, name in data.get("months", {}).get(context, {}).get(width, {}).items():
                months.setdefault(unify_characters(name).lower().strip("."), set()).add(month)
    return symbols, words, scales, months, _read_short_scales(data), _read_eras(data)


def _read_short_scales(data: Any) -> dict[str, set]:
    """Return abbreviations such as "Mrd.", with their point and without it, but for those that are words."""
    found: dict[str, set] = {}
    for size, pattern in _list_scale_patterns(data, length="short"):
        word = regex.sub(r"[0'\s]+", "", unify_characters(pattern)).lower()
        plain = word.removesuffix(".")
        if "0" not in pattern or not plain.isalpha() or (len(plain) < SHORTEST and not UNSPACED.match(plain)):
            continue
        for each in {word, plain} if plain not in WORDS_TOO else ():
            found.setdefault(each, set()).add(int(size) // 10 ** (pattern.count("0") - 1))
    return found


def _read_eras(data: Any) -> dict[str, set]:
    """Return the names of both eras, without spaces and points."""
    found: dict[str, set] = {}
    for width in ("wide", "abbreviated"):
        for number, era in ((0, BEFORE_CHRIST), (1, AFTER_CHRIST)):
            name = _ERA_MARK.sub("", unify_characters(data.get("eras", {}).get(width, {}).get(number, "")))
            usual = name in SHORT_ERAS if _LATIN.match(name) and len(name) < SHORTEST else len(name) > 1
            if usual and name not in NO_ERAS:
                found.setdefault(name, set()).add(era)
    return found


def _list_unit_names(data: Any) -> Iterator[tuple[str, str, str]]:
    """Yield (unit, length, name) for what stands behind a number in this language."""
    for unit, forms in data.get("unit_patterns", {}).items():
        if unit.endswith(LEFT_OUT):
            continue
        for length in ("long", "short"):
            for count, pattern in forms.get(length, {}).items():
                if count in ("zero", "one", "two", "few", "many", "other") and pattern.startswith("{0}"):
                    name = unify_characters(pattern.removeprefix("{0}")).strip().rstrip(".")
                    if name and "{" not in name:
                        yield unit, length, name


def _list_scale_patterns(data: Any, *, length: str = "long") -> Iterator[tuple[str, str]]:
    for sizes in data.get("compact_decimal_formats", {}).get(length, {}).values():
        yield from ((size, pattern.pattern) for size, pattern in sizes.items())


def _agree(languages: tuple[dict[str, set], ...]) -> dict[str, Any]:
    """Return the meaning of each word: English's if it has one, else the only one that the languages have."""
    english, *others = languages
    found: dict[str, set] = {}
    for each in others:
        for word, meanings in each.items():
            found.setdefault(word, set()).update(meanings)
    sure = {word: _prefer_time(meanings) for word, meanings in (found | english).items()}
    return {word: next(iter(meanings)) for word, meanings in sure.items() if len(meanings) == 1}


def _prefer_time(meanings: set) -> set:
    """Leave out arc minutes and seconds, which have the words of minutes and seconds in some languages."""
    return {each for each in meanings if not str(each).startswith("angle-arc")} or meanings


def _find_longest(
    text: str, start: int, names: tuple[Mapping[str, Any], Mapping[str, Any]], longest: Mapping[str, int]
) -> tuple[Any, int] | None:
    """Find the longest name at `start`, in the first mapping as it is written, in the second in lower case."""
    size = longest.get(text[start : start + 1])
    if size is None:
        return None
    (exact, lower), ahead = names, text[start : start + size]
    lowered = ahead.lower()
    if len(lowered) != len(ahead):
        lowered = "".join(sign if len(sign.lower()) > 1 else sign.lower() for sign in ahead)
    for length in range(len(ahead), 0, -1):
        meaning = exact.get(ahead[:length]) or lower.get(lowered[:length])
        if meaning is not None and _is_word_boundary(text, start + length):
            return meaning, start + length
    return None


_ERA_MARK = regex.compile(r"[\s.\-–]")
_ERA_WORDS = regex.compile(r"[\p{L}\p{M}]+(?:[\s.\-–]{1,2}[\p{L}\p{M}]+){0,4}")
_CONTINUES = regex.compile(r"[\p{L}\p{M}\d]")


def _is_word_boundary(text: str, end: int) -> bool:
    """Tell whether a word can end here: the letters on both sides are not of one word."""
    last, following = text[end - 1], text[end : end + 1]
    if not _CONTINUES.match(following) or UNSPACED.match(last) or UNSPACED.match(following):
        return True
    return not _CONTINUES.match(last)
