"""Words of many languages that belong to a number: units, currencies, scale words and months, from Unicode's CLDR.

CLDR (in Babel) has the words, Pint the sizes of units. Where a word means two things, English decides; where languages
other than English disagree, the word means nothing here.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import regex

from comem_core.evaluation.meaning.characters import UNSPACED, unify_characters

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
    "円": "currency-JPY", "yuan": "currency-CNY", "元": "currency-CNY",
}  # fmt: skip
MORE_SCALES = {"lakh": 10**5, "lakhs": 10**5, "crore": 10**7, "crores": 10**7, "萬": 10**4}
# Units of persons' ages, and others that have the words of a common unit.
LEFT_OUT = ("-person", "-milliinch", "temperature-generic", "graphics-dot", "length-point")
NOT_CONVERTED = ("currency", "concentr", "energy-gray", "energy-sievert")  # the last two have one base unit
SHORTEST = 3  # shorter words in Latin letters are more often something else; symbols are English's, as the SI's are
LONGEST = 40
_LATIN = regex.compile(r"\p{Latin}")


class Vocabulary(NamedTuple):
    """Maps words to their meanings: symbols as they are written, words in lower case. `common` has the codes of
    currencies that CLDR gives a symbol of their own; other codes before a number may be words (ALL 5, TOP 10)."""

    symbols: dict[str, str]
    words: dict[str, str]
    common: frozenset[str]
    scales: dict[str, int]
    months: dict[str, int]

    def find_unit(self, text: str, start: int) -> tuple[str, int] | None:
        """Return the unit whose name begins at `start`, and where the longest such name ends."""
        return _find_longest(text, start, lambda name: self.symbols.get(name) or self.words.get(name.lower()))

    def find_scale(self, text: str, start: int) -> tuple[int, int] | None:
        """Return the scale (a million) whose word begins at `start`, and where the longest such word ends."""
        return _find_longest(text, start, lambda name: self.scales.get(name.lower()))

    def find_month(self, text: str, start: int) -> tuple[int, int] | None:
        """Return the month whose name begins at `start`, and where the longest such name ends."""
        return _find_longest(text, start, lambda name: self.months.get(name.lower()))


@lru_cache(maxsize=1)
def load_vocabulary() -> Vocabulary:
    """Collect the words of all languages; takes about a second, once in a process."""
    found = [_read_language(code) for code in LANGUAGES]
    symbols, words, scales, months = (_agree(each) for each in zip(*found, strict=True))
    named = {unit.removeprefix("currency-") for symbol, unit in symbols.items() if not symbol.isalpha()}
    common = frozenset(code for code in symbols if code in named) | {"CHF"}
    symbols |= MORE_UNITS
    scales = {word: scale for word, scale in scales.items() if word not in symbols and word not in words}
    return Vocabulary(symbols, words, common, scales | MORE_SCALES, months)


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


def _read_language(code: str) -> tuple[dict[str, set], dict[str, set], dict[str, set], dict[str, set]]:
    """Return one language's symbols, words, scales and months with their meanings."""
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
    return symbols, words, scales, months


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


def _list_scale_patterns(data: Any) -> Iterator[tuple[str, str]]:
    for sizes in data.get("compact_decimal_formats", {}).get("long", {}).values():
        yield from ((size, pattern.pattern) for size, pattern in sizes.items())


def _agree(languages: tuple[dict[str, set], ...]) -> dict[str, Any]:
    """Return the meaning of each word: English's if it has one, else the only one that the languages have."""
    english, *others = languages
    found: dict[str, set] = {}
    for each in others:
        for word, meanings in each.items():
            found.setdefault(word, set()).update(meanings)
    return {word: next(iter(meanings)) for word, meanings in (found | english).items() if len(meanings) == 1}


def _find_longest(text: str, start: int, look_up: Any) -> tuple[Any, int] | None:
    for end in range(min(len(text), start + LONGEST), start, -1):
        if text[end - 1].isspace() or not _is_word_boundary(text, end):
            continue
        if (meaning := look_up(text[start:end])) is not None:
            return meaning, end
    return None


_CONTINUES = regex.compile(r"[\p{L}\p{M}\d]")


def _is_word_boundary(text: str, end: int) -> bool:
    """Tell whether a word can end here: the letters on both sides are not of one word."""
    last, following = text[end - 1], text[end : end + 1]
    if not _CONTINUES.match(following) or UNSPACED.match(last) or UNSPACED.match(following):
        return True
    return not _CONTINUES.match(last)
