"""Charges of chemical formulas, which are written in several ways: Ca²⁺ is Ca2+, and SO₄²⁻ is SO4^2- and SO42-.

Without a raised writing, a digit before the sign is a charge behind one metal (Ca2+) and behind a number of atoms
(SO42-), and else a number of atoms: NH4+ is NH₄⁺, and O2- is O₂⁻. Independent of what else a text says.
"""

import regex

_METAL = (
    "(?:Li|Be|Na|Mg|Al|Ca|Sc|Ti|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Ge|Rb|Sr|Zr|Nb|Mo|Tc|Ru|Rh|Pd|Ag|Cd|In|Sn|Sb|Cs|Ba|La|Ce|Pr"
    "|Nd|Pm|Sm|Eu|Gd|Tb|Dy|Ho|Er|Tm|Yb|Lu|Hf|Ta|Re|Os|Ir|Pt|Au|Hg|Tl|Pb|Bi|Po|Fr|Ra|Ac|Th|Pa|Np|Pu|Am|Cm|K|V|W|Y|U)"
)
_ELEMENT = f"(?:{_METAL}|He|Ne|Si|Cl|Ar|As|Se|Br|Kr|Te|Xe|At|Rn|H|B|C|N|O|F|P|S|I)"
_SIGN = "[-−–+]"
_ION = regex.compile(
    r"(?<![\p{L}\p{N}^])(?:"
    rf"(?P<formula>(?:{_ELEMENT}\d*|\((?:{_ELEMENT}\d*)+\)\d*)+)"
    rf"(?:\^\(?(?P<charge>\d?{_SIGN}|{_SIGN}\d)\)?|\(?(?P<charge>(?<=\()\d{_SIGN})\))"
    rf"|(?P<formula>(?:{_ELEMENT}\d*)+{_ELEMENT}\d+)\s(?P<charge>\d{_SIGN})"
    rf"|(?P<formula>{_METAL})(?P<charge>\d{_SIGN})"
    rf"|(?P<formula>(?:{_ELEMENT}\d*)*{_ELEMENT}\d)(?P<charge>\d{_SIGN})"
    r")(?![\p{L}\p{N}])"
)
_RAISED = str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")
CHARGE = "[⁰-⁹¹²³]?[⁺⁻]"


def write_charges(text: str) -> str:
    """Return a unified text with the charges of its formulas as raised signs: Ca²⁺."""
    return _ION.sub(_raise, text)


def _raise(ion: regex.Match[str]) -> str:
    charge = ion["charge"].replace("−", "-").replace("–", "-")
    digits = charge.strip("+-").removeprefix("1")
    return f"{ion['formula']}{(digits + charge.strip('0123456789')).translate(_RAISED) if digits else charge[-1]}"
