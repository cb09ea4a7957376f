"""Amounts of money: a currency before a number, and letters that scale an amount ($5M, 5 M€)."""

import regex

from comem_core.evaluation.meaning.numbers import Number
from comem_core.evaluation.meaning.vocabulary import load_vocabulary

_CURRENCY = regex.compile(r"(?:\p{Lu}{0,3}\p{Sc}|\p{Lu}{3}(?=\s)|%)\s?(?=[-−]?\.?\d)")
_SCALE_BEHIND = regex.compile(r"([kKmMbBtT])(?![\p{L}\d])")  # $5M
_SCALE_BEFORE = regex.compile(r"\s?([kKM])\s?(?=\p{Sc})")  # 5 M€
_SCALES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_FIRST = frozenset(" kKmMbBtT")


def find_currency(text: str, start: int) -> tuple[str, int] | None:
    """Return the currency whose sign or code begins at `start`, before a number, and where that number begins."""
    found = _CURRENCY.match(text, start)
    unit = _name_currency(found[0].strip()) if found else ""
    return (unit, found.end()) if found and unit else None


def add_scale_of_money(text: str, number: Number, end: int, *, unit: str) -> tuple[Number, int]:
    """Scale an amount by the letter at `end`; `unit` is the currency before the number, if there is one."""
    if text[end : end + 1] not in _FIRST or isinstance(number.amount, str):
        return number, end
    if unit and not unit.startswith("currency"):  # %35
        return number, end
    match = (_SCALE_BEHIND if unit else _SCALE_BEFORE).match(text, end)
    return (Number(number.amount * _SCALES[match[1].upper()]), match.end()) if match else (number, end)


def _name_currency(prefix: str) -> str:
    vocabulary = load_vocabulary()
    known = vocabulary.symbols.get(prefix, "")
    if prefix.isalpha():
        return known if known.startswith("currency-") and prefix in vocabulary.common else ""
    return known or f"currency-{prefix}"
