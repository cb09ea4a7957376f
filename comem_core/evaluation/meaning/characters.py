"""Characters that mean the same are made one, so that texts can be compared: digits, spaces, dashes, operators."""

import unicodedata

import regex

from comem_core.evaluation.meaning.formulas import write_charges

UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]")
"""A letter of a script in which a word may follow another without a space."""

_RAISED = regex.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u207b]+")
_VULGAR_FRACTION = regex.compile("(?<=[0-9])(?=[\u00bc-\u00be\u2150-\u215e])")
_DEGREE = regex.compile(r"(?<=\d\s?)[\u00ba\u02da]|°\s+(?=[CFK]\b)")
_DIGIT = regex.compile(r"(?![0-9])\p{Nd}")
_INVISIBLE = regex.compile(r"\p{Cf}+")
_SAME = str.maketrans(
    {
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2015": "—", "\u2019": "'", "\u02bc": "'", "\u2018": "'",
        "\u066a": "%", "\u266f": "#", "≈": "~", "∼": "~", "≃": "~", "≅": "~", "≒": "~", "\u301c": "~", "≦": "≤",
        "≧": "≥", "⩽": "≤", "⩾": "≥", "✕": "×", "⋅": "·",
    }
)  # fmt: skip
# Megabits and megabytes a second differ in the case of one letter.
_RATE, _RATES = regex.compile(r"(?<!\p{L})([kKMGT]?)([bB])ps\b"), {"b": "bit", "B": "B"}
_FEET_AND_INCHES = regex.compile(r"(?<![\d°.,'′])(?<!° )(\d+)\s?['′]\s?((?:1[01]|\d)(?:\.\d+)?)\s?(?:\"|''|′′)(?!\d)")
_GLUED_ABOUT = regex.compile(r"(?<![\p{L}\d])(c|ca|cca|approx|aprox|env|ок|ok|kb)\.(?=\d)")
# Two units without a space: 1h30min, 5ft6in.
_GLUED_UNITS = regex.compile(
    r"(?<![\d.,\p{L}])(\d+\s?(?:hr?|min|ft|lb|st|km|m|kg))(?=\d+\s?(?:min|mn|m|s|in|oz|lb|cm|g)\b)"
)
# A metre a second, as physics writes it: m s^-1 is m/s.
_UNIT_BELOW = regex.compile(r"(?<=\p{L}|\^\d)[ ·]?(?<!\p{L})(s|m|h|K|L|l|g|kg|mol|min|cm)\^[-−]([1-9])(?!\d)")
_ARC = regex.compile(r"(?<![\d.,])(\d+)\s?°\s?([0-5]?\d)\s?['′](?:\s?([0-5]?\d(?:\.\d+)?)\s?(?:\"|″|''|′′))?")
_ZONE = regex.compile(r"(?<!\p{L})(UTC|GMT)\s?[-−–]\s?(?=\d)")

_IS_GLUED = regex.compile(r"\p{L}[.^)]*\d|[\d^()]\s*[-−–+]")


def unify_characters(text: str) -> str:
    """Return the text in Unicode's form NFKC, with ASCII digits, one sign for each dash and operator, and raised digits
    behind a "^", without invisible characters."""
    if text.isascii():
        return _unify_operators(text)
    text = _DEGREE.sub("°", text)
    text = _RAISED.sub(_lower, _VULGAR_FRACTION.sub(" ", text))
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).translate(_SAME)
    return _unify_operators(_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), text))


def _unify_operators(text: str) -> str:
    if "ps" in text:
        text = _RATE.sub(lambda rate: f"{rate[1]}{_RATES[rate[2]]}/s", text)
    if "°" in text and ("'" in text or "′" in text):
        text = _ARC.sub(_write_arc, text)
    if "^-" in text or "^−" in text:
        text = _UNIT_BELOW.sub(lambda unit: f"/{unit[1]}" + f"^{unit[2]}" * (unit[2] != "1"), text)
    if "UTC" in text or "GMT" in text:
        text = _ZONE.sub(r"\1 −", text)
    if "'" in text or "′" in text:
        text = _FEET_AND_INCHES.sub(r"\1 ft \2 in", text)
    if _IS_GLUED.search(text):
        text = write_charges(_GLUED_ABOUT.sub(r"\1. ", _GLUED_UNITS.sub(r"\1 ", text)))
    return text.replace(">=", "≥").replace("<=", "≤").replace("+/-", "±").replace("+-", "±")


def _write_arc(arc: regex.Match[str]) -> str:
    """Return degrees, minutes and seconds with the words of their units."""
    return f"{arc[1]} deg {arc[2]} arcmin " + (f"{arc[3]} arcsec " if arc[3] else "")


def _lower(raised: regex.Match[str]) -> str:
    plain = unicodedata.normalize("NFKC", raised[0])
    return f"^{plain}" if any(sign.isdigit() for sign in plain) else plain
