"""Units with the SI's prefixes, whose case counts: 5 mPa are not 5 MPa. CLDR has few. Independent of languages."""

import regex

PREFIXES = {"f": "femto", "p": "pico", "n": "nano", "μ": "micro", "m": "milli", "k": "kilo", "K": "kilo", "M": "mega",
            "G": "giga", "T": "tera"}  # fmt: skip
# Symbol, kind and name of a unit, and the prefixes that it has. Left out is what is more often a word (TV, PC, MS).
_UNITS = (
    ("J", "energy", "joule", "npμmkKMGT"), ("eV", "energy", "electron_volt", "μmkKMGT"),
    ("Wh", "energy", "watt_hour", "mkKMGT"), ("N", "force", "newton", "npμmkM"), ("V", "electric", "volt", "npμmkKMG"),
    ("A", "electric", "ampere", "npμmkM"), ("Ω", "electric", "ohm", "μmkKMG"), ("W", "power", "watt", "npμmkKMGT"),
    ("Hz", "frequency", "hertz", "μmkKMGT"), ("Pa", "pressure", "pascal", "μmkKMG"), ("bar", "pressure", "bar", "μmkM"),
    ("F", "electric", "farad", "fpnμm"), ("H", "electric", "henry", "pnμm"), ("C", "electric", "coulomb", "pnμm"),
    ("S", "electric", "siemens", "pnμm"), ("T", "magnetic", "tesla", "pnμm"), ("K", "temperature", "kelvin", "nμm"),
    ("pc", "length", "parsec", "kMG"), ("Da", "mass", "dalton", "kKM"), ("Ah", "charge", "ampere_hour", "mk"),
    ("bit", "digital", "bit", "kKMGT"), ("m", "length", "meter", "fM"), ("s", "duration", "second", "fpM"),
    ("g", "mass", "gram", "fpnM"), ("L", "volume", "liter", "fpnμ"),
    # One base unit stands for two kinds of dose.
    ("Sv", "sievert", "sievert", "nμm"), ("Gy", "gray", "gray", "nμmk"), ("Bq", "becquerel", "becquerel", "μmkMGT"),
    ("VA", "apparent", "volt_ampere", "kKM"), ("mol", "amount", "mole", "fpnμmk"),
    ("t", "mass", "metric_ton", "kMG"), ("Eq", "equivalent", "Eq", "μm"), ("Osm", "osmole", "Osm", "m"),
    ("Gal", "galileo", "Gal", "μm"),
)  # fmt: skip
_SMALL, _LARGE = ("milli", "pico"), ("mega", "peta")
_SMALL_LETTERS, _LARGE_LETTERS = "mpмп", "MPМП"
LONGEST_WITH_PREFIX = 7  # mmol/L; longer ones are words, in which case does not count
_PREFIX_IN_WORDS = regex.compile(r"(?i:mil|meg|pic|pet|мил|мег|пик|пет)")


def list_prefixed_units() -> dict[str, str]:
    """Return the kind and name of units by their symbols, as CLDR would name them: mPa is "pressure-millipascal"."""
    return {
        prefix + symbol: f"{kind}-{PREFIXES[prefix]}{name}"
        for symbol, kind, name, prefixes in _UNITS
        for prefix in prefixes
    }


def has_other_prefix(written: str, unit: str) -> bool:
    """Tell whether the case of a symbol's first letter contradicts the unit that was found without regard to case.

    All letters in one case are an unusual writing, and not another prefix.
    """
    first = written[0]
    if first not in _SMALL_LETTERS + _LARGE_LETTERS or len(written) > LONGEST_WITH_PREFIX:
        return False
    name = unit.partition("-")[2]
    if not name.startswith(_SMALL + _LARGE) or _PREFIX_IN_WORDS.match(written):
        return False
    if len(written) > 2 and (written.islower() or written.isupper()):
        return False
    return first in (_LARGE_LETTERS if name.startswith(_SMALL) else _SMALL_LETTERS)
