"""Quantities that are written with two units or more are one amount (1 h 30 min is 90 min), and numbers that are joined
share their unit (5–10 °C)."""

from fractions import Fraction

import regex

from comem_core.evaluation.meaning.numbers import NUMBER, Number, read_number
from comem_core.evaluation.meaning.vocabulary import AFTER_CHRIST, BEFORE_CHRIST, ERA, load_vocabulary, measure_amount

Part = Number | str
RANGE = "–"
SHARING_A_UNIT = (RANGE, "×", "±")

# Units that are spoken of together, so that a word or a comma may be between them. Others ("5 m and 20 cm") may be two.
_TOGETHER = ("duration", "angle", "length-foot", "length-yard", "length-mile", "mass-pound", "mass-stone")
_SPACE = regex.compile(r"\.?[^\S\n]?(?=\d)")
_JOINT = regex.compile(r"\.?,?(?:-|[^\S\n])?(?:(?:and|und|et|y|e|i|en|og|och|ja|és|ve|и|та|і|و)\s+)?(?=\d)")
_BEFORE_UNIT = regex.compile(r"-(?=\p{L})|[^\S\n]?")
_SHORT = {
    "duration-hour": (regex.compile(r"(?:m|mn|min|')(?![\p{L}\d])"), "duration-minute"),
    "length-foot": (regex.compile(r"in\b"), "length-inch"),  # not the word before "Rome"
}


def add_smaller_units(text: str, quantity: Number, end: int) -> tuple[Number, int]:
    """Add what follows in smaller units at `end`; return the quantity in the last unit, and where it ends."""
    while _is_whole(quantity) and (found := _read_smaller(text, quantity, end)):
        quantity, end = found
    return quantity, end


def _is_whole(quantity: Number) -> bool:
    """Tell whether a smaller unit may follow: nobody writes 1.5 h 30 min."""
    return isinstance(quantity.amount, Fraction) and quantity.amount.denominator == 1 and not quantity.zeros


def _read_smaller(text: str, quantity: Number, end: int) -> tuple[Number, int] | None:
    joint = (_JOINT if quantity.unit.startswith(_TOGETHER) else _SPACE).match(text, end)
    match = NUMBER.match(text, joint.end()) if joint else None
    rest = read_number(match[0]) if match else None
    if match is None or rest is None:
        return None
    amount = Fraction(rest.amount) if isinstance(rest.amount, str) and rest.amount.isdigit() else rest.amount  # 05
    found = _read_unit(text, match.end(), quantity.unit)
    if isinstance(amount, str) or found is None:
        return None
    unit, end = found
    assert isinstance(quantity.amount, Fraction)
    (kind, large), (other, small) = (measure_amount(Fraction(1), each) for each in (quantity.unit, unit))
    if kind != other or not 0 < small < large or not amount * small < large:
        return None
    return Number(quantity.amount * large / small + amount, unit), end


def _read_unit(text: str, end: int, larger: str) -> tuple[str, int] | None:
    space = _BEFORE_UNIT.match(text, end)
    assert space is not None
    if larger in _SHORT and (match := _SHORT[larger][0].match(text, space.end())):
        return _SHORT[larger][1], match.end()
    return load_vocabulary().find_unit(text, space.end())


def share_units(parts: list[Part]) -> None:
    """Give the first number of "5–10 °C" the unit of the second, and write the end of "1990–95" in full."""
    for place in range(len(parts) - 3, -1, -1):
        first, joint, second = parts[place : place + 3]
        if not isinstance(first, Number) or not isinstance(second, Number) or joint not in SHARING_A_UNIT:
            continue
        if not first.unit and second.unit == ERA:
            parts[place] = first.put_in_era(AFTER_CHRIST if str(second.amount)[0] != "-" else BEFORE_CHRIST)
        elif not first.unit:
            parts[place] = first._replace(unit=second.unit)
        elif not second.unit and first.unit.startswith("currency"):
            parts[place + 2] = second._replace(unit=first.unit)
        if isinstance(first.amount, Fraction) and isinstance(second.amount, Fraction) and joint == RANGE:
            century = first.amount - first.amount % 100
            if 1000 <= first.amount <= 2999 and first.amount % 100 < second.amount < 100:
                parts[place + 2] = second._replace(amount=century + second.amount)
