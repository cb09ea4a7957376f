"""What answers mean: whether two of them say the same, and whether a text says what an answer says.

Numbers are compared as numbers, however they are written, with their signs and units; words without case, punctuation
and English articles; signs that tell answers apart (C++ and C#, A+, >5) count. What is not sure is not the same.
"""

from collections.abc import Hashable, Sequence

import regex

from comem_core.evaluation.meaning.characters import unify_characters
from comem_core.evaluation.meaning.numbers import Number
from comem_core.evaluation.meaning.parts import RANGE, Part, read_parts

# A number beside one of them is a part of something larger: "5" is not what ">5" says.
OPERATORS = frozenset({"<", ">", "≤", "≥", "±", "+", "/", "×", "^", RANGE})
FIRST_YEAR, LAST_YEAR = 1000, 2999
_IS_TELLING = regex.compile(r"\b(?!(?:an?|the)\b)[\p{L}\p{N}]", regex.IGNORECASE)  # a number, or a word but an article


def is_empty(answer: str) -> bool:
    """Tell whether an answer says nothing: no word and no number but an English article. "A" alone is a letter."""
    return _IS_TELLING.search(unify_characters(answer)) is None and not read_parts(answer)


def is_agreeing(first: str, second: str) -> bool:
    """Tell whether two answers mean the same. Two answers that say nothing do not agree."""
    return any(
        (parts := list_meanings(first, joined=joined)) and parts == list_meanings(second, joined=joined)
        for joined in (True, False)
    )


def is_stated(answer: str, text: str) -> bool:
    """Tell whether a text has the answer as whole words and whole numbers, whose unit the answer may leave out."""
    return any(_has_run(read_parts(text, joined=joined), read_parts(answer, joined=joined)) for joined in (True, False))


def list_numbers(text: str) -> list[Number]:
    """Return the numbers of a text, in order."""
    return [part for part in read_parts(text) if isinstance(part, Number)]


def list_meanings(text: str, *, joined: bool = True) -> list[Hashable]:
    """Return what each part of a text means; parts that mean the same are equal. `joined`: see `read_parts`."""
    return [part.meaning if isinstance(part, Number) else part for part in read_parts(text, joined=joined)]


def _has_run(parts: Sequence[Part], wanted: Sequence[Part]) -> bool:
    num_wanted = len(wanted)
    return bool(wanted) and any(
        all(map(_is_part_stated, wanted, parts[start : start + num_wanted]))
        and _is_whole(wanted[0], parts[start - 1 : start])
        and _is_whole(wanted[-1], parts[start + num_wanted : start + num_wanted + 1])
        for start in range(len(parts) - num_wanted + 1)
    )


def _is_part_stated(wanted: Part, part: Part) -> bool:
    if isinstance(wanted, Number) and isinstance(part, Number):
        return wanted.is_stated_by(part)
    return wanted == part


def _is_whole(edge: Part, neighbour: Sequence[Part]) -> bool:
    """Tell whether a number is not a part of what the text says; each end of a span of years is a statement."""
    if not isinstance(edge, Number) or not neighbour or neighbour[0] not in OPERATORS:
        return True
    return neighbour[0] == RANGE and not isinstance(edge.amount, str) and FIRST_YEAR <= edge.amount <= LAST_YEAR
