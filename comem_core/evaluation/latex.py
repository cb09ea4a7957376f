r"""Writes the LaTeX of short answers as a reader sees it: \frac{1}{2} is 1/2, \text{Lima} is Lima, 10^{-3} is 10^-3.

Anything else stays as it is. pylatexenc reads more, but takes the `%` of `50%` for a comment, `$5` for mathematics and
`R&D` for a table.
"""

import re
import unicodedata

_BEGINS = re.compile(r"\\|[\^_]\{|\{,\}")
_END = r"(?![A-Za-z])"  # of a command: \pm5 is ± and 5
_COMMANDS = {
    "times": "×", "cdot": "·", "pm": "±", "mp": "∓", "div": "÷", "approx": "≈", "sim": "~", "leq": "≤", "le": "≤",
    "geq": "≥", "ge": "≥", "neq": "≠", "ne": "≠", "lt": "<", "gt": ">", "infty": "∞", "sharp": "♯", "flat": "♭",
    "ldots": "…", "dots": "…", "quad": " ", "qquad": " ", "left": "", "right": "", "lambda": "λ", "Lambda": "Λ",
    "varepsilon": "ε", "varphi": "φ",
}  # fmt: skip
_COMMAND = re.compile(rf"\\([A-Za-z]+){_END}")
_DEGREE = re.compile(rf"\s*(?:\^\s*\{{?)?\\(?:circ|degree){_END}\}}?")
_INLINE = re.compile(r"(?<!\\)\$([^$]*\\[^$]*)\$|\\\((.*?)\\\)")
_SPACE, _NOTHING = re.compile(r"\\[,;: ]"), re.compile(r"\\!|\{(?=,\})|(?<=\{,)\}")
_COLOUR = re.compile(r"\\(?:text)?color\s*\{[^{}]*\}")
_STYLES = (
    r"text(?:bf|it|rm|sf|tt|up|normal)?|math(?:bf|it|rm|sf|tt|normal)|operatorname|mbox|emph|bm|boldsymbol|underline|ce"
)
_STYLE = re.compile(rf"\\(?:{_STYLES})\s*\{{([^{{}}]*)\}}")
_SHORT_FRACTION = re.compile(r"(\\[dt]?frac)\s*(\d)\s*(\d)")
_MIXED = re.compile(r"(?<=\d)\s*(?=\\[dt]?frac\b)")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_ROOT = re.compile(r"\\sqrt\s*(?:\[([34])\])?\s*(?:\{([^{}]*)\}|(\d))")
_ROOTS = {None: "√", "3": "∛", "4": "∜"}
_POWER = re.compile(r"\^\s*\{([-−+]?\w+[-−+]?|[-−+])\}")
_INDEX = re.compile(r"(?<=[A-Za-z)\]])_(?:\{(\d+)\}|(\d))")
_BELOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_IS_ONE = re.compile(r"[-−+]?\w+(?:[.,]\w+)*")  # what needs no brackets above a line
_IS_ONE_BELOW = re.compile(r"\d+(?:[.,]\d+)*|\w")  # or below it, or under a root
_GROUP, _ESCAPED = re.compile(r"\A\{([^{}]*)\}\Z"), re.compile(r"\\([%$&#_{}])")


def read_latex(text: str) -> str:
    """Return a short answer with its LaTeX written out; other texts are returned as they are."""
    if not _BEGINS.search(text):
        return text
    text = _INLINE.sub(lambda found: read_latex(found[1] or found[2] or ""), text)
    text = _COLOUR.sub("", _NOTHING.sub("", _SPACE.sub(" ", _DEGREE.sub("°", text))))
    text = _MIXED.sub(" ", _SHORT_FRACTION.sub(r"\1{\2}{\3}", text))
    text = _COMMAND.sub(_write_command, text)
    while (plain := _write_innermost(text)) != text:
        text = plain
    return " ".join(_ESCAPED.sub(r"\1", _GROUP.sub(r"\1", text.strip())).split())


def _write_innermost(text: str) -> str:
    """Write out powers, indexes, styles, roots and fractions that have no braces within them."""
    text = _POWER.sub(r"^\1", text)
    text = _INDEX.sub(lambda found: (found[1] or found[2]).translate(_BELOW), text)
    text = _ROOT.sub(lambda found: _ROOTS[found[1]] + _bracket(found[2] or found[3] or "", _IS_ONE_BELOW), text)
    text = _FRACTION.sub(lambda found: f"{_bracket(found[1], _IS_ONE)}/{_bracket(found[2], _IS_ONE_BELOW)}", text)
    return _STYLE.sub(r"\1", text)


def _bracket(inner: str, is_one: re.Pattern[str]) -> str:
    inner = inner.strip()
    return inner if is_one.fullmatch(inner) else f"({inner})"


def _write_command(command: re.Match[str]) -> str:
    """Return the sign of a command, a Greek letter among them; an unknown one stays."""
    name = command[1]
    if name in _COMMANDS:
        return _COMMANDS[name]
    size = "CAPITAL" if name[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {name.upper()}")
    except KeyError:
        return command[0]
