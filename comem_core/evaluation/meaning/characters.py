"""Characters that mean the same are made one, so that texts can be compared: digits, spaces, dashes, operators."""

import unicodedata

import regex

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
    text = _RATE.sub(lambda rate: f"{rate[1]}{_RATES[rate[2]]}/s", text)
    return text.replace(">=", "≥").replace("<=", "≤").replace("+/-", "±")


def _lower(raised: regex.Match[str]) -> str:
    plain = unicodedata.normalize("NFKC", raised[0])
    return f"^{plain}" if any(sign.isdigit() for sign in plain) else plain
