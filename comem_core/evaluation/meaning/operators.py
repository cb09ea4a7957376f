"""Signs that join numbers and symbols: ranges, products, quotients, and the minus of a symbol. Independent of units."""

import regex

from comem_core.evaluation.meaning.characters import UNSPACED
from comem_core.evaluation.meaning.compounds import RANGE
from comem_core.evaluation.meaning.vocabulary import load_vocabulary

LETTER = rf"(?:(?!{UNSPACED.pattern})[\p{{L}}\p{{M}}])"
PRODUCT, QUOTIENT, MINUS = "×", "/", "-"
_SIGNS = {"/": QUOTIENT, "*": PRODUCT}
_NUMBER_AHEAD = r"(?=[-−+]?\p{Sc}?\.?\d)"
_RANGE = regex.compile(
    rf"(?:\s*[—~]\s*|\.\.+|\s*(?:至|到|から)\s*|[-−–]|\s*[-−–]\s+|\s+(?:to|bis|à|до|a|al)\s+){_NUMBER_AHEAD}"
)
_TIMES = regex.compile(r"\s*[×x*]\s*(?=\d)")
_BEHIND_NUMBER = regex.compile(r"(?P<sign>[/+])|(?:\s(?P<sign>/)\s|(?P<sign>\*))(?=\d|\p{L}(?!\p{L}))")
_OPERATION = regex.compile(
    rf"(?P<first>{LETTER}{{1,4}})\s?(?P<sign>[/*])(?=\s?-?(?P<second>{LETTER}{{1,4}}(?!{LETTER})|\d+))"
)
_MINUS_OF_SYMBOL = regex.compile(r"(?<=^|[\s=(<>≤≥/×*^,])[-−](?=[√∛∜]|\p{L}(?![\p{L}\p{P}\d]))")


def is_range_ahead(text: str, end: int) -> bool:
    """Tell whether a sign or a word of a range stands behind a number that ends at `end`: the "bis" of 5 bis 10."""
    return _RANGE.match(text, end) is not None


def find_joint(text: str, end: int) -> tuple[str, int] | None:
    """Return the sign that joins the number that ends at `end` to what follows, and where it ends."""
    for pattern, part in ((_RANGE, RANGE), (_TIMES, PRODUCT)):
        if match := pattern.match(text, end):
            return part, match.end()
    match = _BEHIND_NUMBER.match(text, end)
    return (_SIGNS.get(match["sign"], match["sign"]), match.end()) if match else None


def find_operation(text: str, place: int) -> tuple[list[str], int] | None:
    """Return a symbol and the operator behind it (a of a/b, m of m/s), and where the operator ends.

    Other words with such a mark between them are read as one word (and/or).
    """
    match = _OPERATION.match(text, place)
    if match is None or not all(map(_is_operand, match.group("first", "second"))):
        return None
    return [match["first"].lower(), _SIGNS[match["sign"]]], match.end("sign")


def is_minus_of_symbol(text: str, place: int) -> bool:
    """Tell whether a dash is the minus of one letter or of a root (−x, y = −√2), and not a hyphen."""
    return text[place] in "-−" and _MINUS_OF_SYMBOL.match(text, place) is not None


def _is_operand(symbol: str) -> bool:
    """Tell whether a word is a symbol that is reckoned with: one letter, a number, or a unit as it is written."""
    return len(symbol) == 1 or symbol.isdecimal() or symbol in load_vocabulary().symbols
