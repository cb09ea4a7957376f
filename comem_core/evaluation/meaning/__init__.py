"""What answers mean: whether two of them say the same, and whether a text says what an answer says.

Numbers are compared as numbers, however they are written, with their signs and units; words without case, punctuation
and English articles; signs that tell answers apart (C++ and C#, A+, >5) count. What is not sure is not the same.
"""

from collections.abc import Hashable, Sequence

import regex

from comem_core.evaluation.meaning import vocabulary
from comem_core.evaluation.meaning.characters import unify_characters
from comem_core.evaluation.meaning.compounds import RANGE, Part
from comem_core.evaluation.meaning.numbers import FIRST_YEAR, LAST_YEAR, Number
from comem_core.evaluation.meaning.operators import PRODUCT, QUOTIENT
from comem_core.evaluation.meaning.parts import ERAS, read_parts

# A number beside one of them is a part of something larger: "5" is not what ">5" says.
ROOTS, POWER, BEFORE_CHRIST = frozenset("√∛∜"), "^", ERAS[vocabulary.BEFORE_CHRIST]
BOUNDS = frozenset("<>≤≥≪≫≲≳≠")
OPERATORS = frozenset({*ROOTS, *BOUNDS, POWER, "±", "∓", "+", "/", "×", "÷", RANGE})
PRODUCTS = (QUOTIENT, PRODUCT)  # between symbols they make one quantity: m/s
LONGEST_SYMBOL = 4  # R², sin²; a raised digit behind a longer word is more often a footnote's
_IS_TELLING = regex.compile(
    r"(?<![\p{L}\p{M}\p{N}])(?!(?:an?|the)(?![\p{L}\p{M}\p{N}]))[\p{L}\p{N}]", regex.IGNORECASE
)  # a number, or a word but an article


def is_empty(answer: str) -> bool:
    """Tell whether an answer says nothing: no word and no number but an English article. "A" alone is a letter."""
    return _IS_TELLING.search(unify_characters(answer)) is None and not read_parts(answer, joined=True)


def is_agreeing(first: str, second: str) -> bool:
    """Tell whether two answers mean the same. Two answers that say nothing do not agree."""
    one, other = read_parts(first, joined=True), read_parts(second, joined=True)
    if one and _list_meanings(one) == _list_meanings(other):
        return True
    parted, other_parted = read_parts(first, joined=False), read_parts(second, joined=False)
    if parted is one and other_parted is other:  # no marks within words
        return False
    return bool(parted) and _list_meanings(parted) == _list_meanings(other_parted)


def is_stated(answer: str, text: str) -> bool:
    """Tell whether a text has the answer as whole words and whole numbers, whose unit the answer may leave out."""
    if _has_run(read_parts(text, joined=True), read_parts(answer, joined=True)):
        return True
    parted = read_parts(answer, joined=False)
    return _has_run(read_parts(text, joined=None if len(parted) == 1 and _is_short(parted[0]) else False), parted)


def list_numbers(text: str) -> list[Number]:
    """Return the numbers of a text, in order."""
    return [part for part in read_parts(text, joined=True) if isinstance(part, Number)]


def list_stated_numbers(text: str) -> list[Number]:
    """Return the numbers that a text states, in order: not what is bounded, raised or under a root (2 of √2)."""
    parts = read_parts(text, joined=True)
    return [
        part
        for place, part in enumerate(parts)
        if isinstance(part, Number)
        and not {*parts[max(0, place - 1) : place], *parts[place + 1 : place + 2]} & (ROOTS | BOUNDS | {POWER})
    ]


def list_meanings(text: str, *, joined: bool = True) -> list[Hashable]:
    """Return what each part of a text means; parts that mean the same are equal. `joined`: see `read_parts`."""
    return _list_meanings(read_parts(text, joined=joined))


def _list_meanings(parts: Sequence[Part]) -> list[Hashable]:
    return [part.meaning if isinstance(part, Number) else part for part in parts]


def _has_run(parts: Sequence[Part], wanted: Sequence[Part]) -> bool:
    num_wanted = len(wanted)
    return bool(wanted) and any(
        all(map(_is_part_stated, wanted, parts[start : start + num_wanted]))
        and _is_whole(wanted[0], before=parts[start - 1 : start])
        and _is_whole(wanted[-1], behind=parts[start + num_wanted : start + num_wanted + 1])
        for start in range(len(parts) - num_wanted + 1)
    )


def _is_short(part: Part) -> bool:
    """Tell whether a part is more often a piece of a code (52 of B-52) than what it says of something (mid-1990)."""
    if isinstance(part, Number):
        return isinstance(part.amount, str) or not FIRST_YEAR <= part.amount <= LAST_YEAR
    return len(part) == 1


def _is_part_stated(wanted: Part, part: Part) -> bool:
    if isinstance(wanted, Number) and isinstance(part, Number):
        return wanted.is_stated_by(part)
    return wanted == part


def _is_whole(edge: Part, *, before: Sequence[Part] = (), behind: Sequence[Part] = ()) -> bool:
    """Tell whether an edge is not a part of what the text says; each end of a span of years is a statement."""
    if behind and behind[0] == BEFORE_CHRIST:  # of "4th century BC"
        return False
    neighbour = behind or before
    if not isinstance(edge, Number):
        is_symbol = len(edge) <= LONGEST_SYMBOL and edge[-1:].isalpha()
        parted = (POWER, *PRODUCTS)
        return not (is_symbol and ((behind and behind[0] in parted) or (before and before[0] in (*ROOTS, *PRODUCTS))))
    if not neighbour or neighbour[0] not in OPERATORS:
        return True
    return neighbour[0] == RANGE and not isinstance(edge.amount, str) and FIRST_YEAR <= edge.amount <= LAST_YEAR
