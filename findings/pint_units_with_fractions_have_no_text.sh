#!/usr/bin/env bash
# pint 0.25.3 on Python 3.11: with exact numbers, a unit with an exponent has no text.
#
# `UnitRegistry(non_int_type=Fraction)` is the documented way to exact conversions. It also makes the exponents of units
# fractions, and the formatter writes an exponent with a format code that Fraction has only from Python 3.12 on. So
# `str` fails for litres and square kilometres, and with it every error message of Pint that quotes such a unit, while
# `str` of metres and all conversions work.
# Seen: "3/2 meter", and TypeError for "2 km ** 2". The script fails when both have a text.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pint==0.25.3
cd "$folder"
venv/bin/python - <<'PYTHON'
import platform
from fractions import Fraction

import pint


def write(quantity):
    try:
        return str(quantity)
    except TypeError as error:
        return f"TypeError: {error}"


units = pint.UnitRegistry(non_int_type=Fraction)
length = units.Quantity(Fraction(3, 2), units.meter)
area = units.Quantity(Fraction(2), units.kilometer**2)
print(f"pint {pint.__version__}, Python {platform.python_version()}")
print(f"{area.to(units.meter**2).magnitude} square metres are converted exactly")
print(f"length: {write(length)}; area: {write(area)}")
assert write(length) == "3/2 meter"
assert write(area).startswith("TypeError"), "a unit with an exponent has a text"
PYTHON
