"""Reads a number that is written in any of the usual ways: as an exact amount, or as it stands where that is not sure.

A separator groups digits where it occurs twice, or is a space, an apostrophe or a comma with three digits behind it:
1,500 is 1500. A point with three digits behind it (1.500) is a thousand in some languages and a decimal in others. Such
a number equals only what is written like it, so that it agrees neither with 1500 nor with 1.5.
"""

from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import NamedTuple

import regex

from comem_core.evaluation.meaning.vocabulary import ERA, measure_amount

Amount = Fraction | str
FIRST_YEAR, LAST_YEAR = 1000, 2999
LARGEST_POWER, LONGEST = 300, 300  # a larger power or a longer number is compared as it is written

_GROUPED = r"[1-9]\d{0,2}(?:(?P<group>[ '\u066c,.])\d{3})(?:(?P=group)\d{3})*|[1-9]\d?(?:,\d\d)+,\d{3}"
_AMOUNT = regex.compile(rf"(?P<whole>{_GROUPED}|\d*)(?:(?P<mark>[.,\u066b])(?P<decimals>\d+))?")
_UNDECIDED = regex.compile(r"[1-9]\d{0,2}\.\d{3}")
_CODE = regex.compile(r"0\d+")  # 007 is not 7

DIGITS = (
    r"(?:(?<!\d[ .,'])[1-9]\d{0,2}(?: \d{3})+(?![ ]?\d)(?:[.,\u066b]\d+)?"  # 1 500
    r"|\d+(?:[.,'\u066b\u066c]\d+)*|(?<![\d\p{L}\p{P}])[.\u066b]\d+)"
)
_POWER = r"\(?(?P<power{0}>[-−+]?\d+)\)?"
NUMBER = regex.compile(
    rf"(?P<digits>{DIGITS})"
    rf"(?:[eE](?P<power1>[-−+]?\d+)(?![\w.,]\d|\w)"
    rf"|\s*[×x*·]\s*10\s*(?:\^|\*\*)\s*{_POWER.format(2)}"
    rf"|(?:\^|\*\*){_POWER.format(3)}"
    rf"|(?P<mixed>\s\d+)?\s?(?P<slash>[/⁄])\s?(?P<below>\d+)(?![/⁄.,]?\d))?"
)


class Number(NamedTuple):
    """An amount with its unit, if it has one, and the zeros at the end of its decimals: version 3.10 is not 3.1."""

    amount: Amount
    unit: str = ""
    zeros: int = 0

    @property
    def meaning(self) -> tuple[str, Amount, int]:
        """What two numbers that mean the same have in common: a unit makes zeros at the end meaningless."""
        if not self.unit:
            return "", self.amount, self.zeros
        if isinstance(self.amount, str):
            return self.unit, self.amount, 0
        return *measure_amount(self.amount, self.unit), 0

    @property
    def is_year(self) -> bool:
        """Whether this may be a year, as most numbers of this size without decimals are."""
        amount = self.amount
        return (
            isinstance(amount, Fraction)
            and amount.denominator == 1
            and FIRST_YEAR <= amount <= LAST_YEAR
            and not self.zeros
        )

    def put_in_era(self, era: int) -> "Number":
        """Return a year of this era; those before Christ are negative, so that 350 is not stated by 350 BC."""
        return Number(self.amount * era if isinstance(self.amount, Fraction) else self.amount, ERA)

    def is_stated_by(self, other: "Number") -> bool:
        """Tell whether a text with the other number states this one, which may lack the unit."""
        if self.unit or not other.unit:
            return self.meaning == other.meaning
        return self.amount == other.amount and not self.zeros


@lru_cache(maxsize=1 << 14)
def read_number(found: str) -> Number | None:
    """Read one match of `NUMBER`; None for a list (1,2,3) and for a quotient that is more than one number (24/7)."""
    match = NUMBER.fullmatch(found)
    assert match is not None, found
    if len(found) > LONGEST:
        return Number(found)
    if match["slash"]:
        return _read_fraction(match)
    power = next((match[name] for name in ("power1", "power2", "power3") if match[name]), None)
    number = read_digits(match["digits"], is_decimal=power is not None)
    if power is None:
        return number
    exponent = int(power.replace("−", "-"))
    if number is None or isinstance(number.amount, str) or abs(exponent) > LARGEST_POWER:
        return Number(found)
    if match["power3"]:
        return Number(number.amount**exponent if number.amount or exponent > 0 else found)
    return Number(number.amount * Fraction(10) ** exponent)


def read_digits(digits: str, *, is_decimal: bool = False) -> Number | None:
    """Read digits with separators; None for a list. `is_decimal`: what is around it says that a point is decimal."""
    if len(digits) > LONGEST:
        return Number(digits)
    match = _AMOUNT.fullmatch(digits)
    if _CODE.fullmatch(digits) or (_UNDECIDED.fullmatch(digits) and not is_decimal):
        return Number(digits)
    if is_decimal and _UNDECIDED.fullmatch(digits):
        return Number(Fraction(digits))
    if match is None or (match["group"] and match["group"] == match["mark"]):
        return None if set(digits) <= set("0123456789,") else Number(digits.replace("\u066b", "."))
    whole, decimals = regex.sub(r"\D", "", match["whole"]), match["decimals"] or ""
    amount = Fraction(int(whole + decimals or "0"), 10 ** len(decimals))
    return Number(amount, zeros=len(decimals) - len(decimals.rstrip("0")))


def _read_fraction(match: regex.Match[str]) -> Number | None:
    """Read 1/2, ½ or 2 ½; other quotients, such as 24/7 and 4/4, are more often something else."""
    digits, below = match["digits"], int(match["below"])
    whole, above = (int(digits), int(match["mixed"])) if match["mixed"] and digits.isdigit() else (0, digits)
    if not str(above).isdigit() or (match["mixed"] and not digits.isdigit()):
        return None
    above = int(above)
    if not 0 < above < below or gcd(above, below) != 1:
        return None
    return Number(whole + Fraction(above, below))
