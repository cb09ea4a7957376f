"""InfoSeek's official metric: whether an answer is right. The total is the harmonic mean of the splits (`totals`).

Written from the description of edchengg/infoseek_eval (Chen et al. 2023, arXiv 2302.11713). Under
`normalisation="official"` it equals that evaluator, including its quirks:

- only ASCII punctuation is dropped, and a hyphen leaves no gap ("Guinea-Bissau" becomes "guineabissau");
- "a", "an" and "the" are dropped as English articles in every language;
- a leading decimal point is lost (".5" is read as 5), while "0.5" is read as it stands;
- an answer without a number is the range [0, 0], so it is right where the accepted range holds zero;
- an accepted range with reversed ends (as ±10 % of a negative number gives) holds no single number;
- an answer that normalises to nothing is right where an alias does too.

`normalisation="unicode"` is ours and never the default. Before the official steps it converts to Unicode form NFKC
(full-width letters and digits, composed accents), digits of every script to ASCII digits, and Arabic separators,
Unicode dashes and minus signs to ASCII; it drops punctuation of every script and invisible direction marks. It also
fixes the last three quirks. Both keep the letters and marks of every script.
"""

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored

Normalisation = Literal["official", "unicode"]
QuestionType = Literal["string", "numerical", "time"]
NumberOrRange = float | tuple[float, float]

ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(r"[-+]?[.]?\d+(?:,\d\d\d)*[.]?\d*(?:[eE][-+]?\d+)?")
_DIRECTION_MARKS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_SAME_SIGN = str.maketrans(
    {
        "\u066b": ".",
        "\u066c": ",",
        "\u2212": "-",
        "\u2010": "-",
        "\u2011": "-",
        "\u2012": "-",
        "\u2013": "-",
        "\u2014": "-",
    }
    | dict.fromkeys(_DIRECTION_MARKS)
)


@lru_cache(maxsize=1 << 16)
def normalise_answer(text: str, *, normalisation: Normalisation = "official") -> str:
    """Normalise an answer or an alias for comparison."""
    if _is_unicode(normalisation):
        text = _unify_characters(text)
        text = "".join(sign for sign in text if not unicodedata.category(sign).startswith("P"))
    return drop_articles(text.lower().translate(ASCII_PUNCTUATION))


def drop_articles(text: str) -> str:
    """Drop English articles, and put one space between the remaining words."""
    return " ".join(_ARTICLE.sub(" ", text).split())


def matches_any(answer: str, aliases: Sequence[str], *, normalisation: Normalisation = "official") -> bool:
    """Say whether the answer equals one of the aliases once both are normalised."""
    normal = normalise_answer(answer, normalisation=normalisation)
    if not normal and _is_unicode(normalisation):
        return False
    return any(normal == normalise_answer(alias, normalisation=normalisation) for alias in aliases)


def parse_number(text: str, *, normalisation: Normalisation = "official") -> NumberOrRange | None:
    """Read the first number of a text, or its first two as a range; None when it holds no number.

    A hyphen after a digit separates two numbers ("9-10"); elsewhere it is a minus sign. If the second number is smaller
    than the first, only the first is kept ("10 km, 6 miles" is 10).
    """
    numbers = find_numbers(text, normalisation=normalisation)[:2]
    if len(numbers) == 2 and numbers[0] <= numbers[1]:
        return numbers[0], numbers[1]
    return numbers[0] if numbers else None


def find_numbers(text: str, *, normalisation: Normalisation = "official") -> list[float]:
    """Read all numbers of a text, in order: with thousands commas, decimal points and exponents."""
    if _is_unicode(normalisation):
        text = _unify_characters(text)
    found = [_to_float(each, normalisation) for each in _NUMBER.findall(_split_ranges(text))]
    return [number for number in found if number is not None]


def is_number_right(number: NumberOrRange, *, low: float, high: float) -> bool:
    """Say whether a number lies in the accepted range, or a range lies in it or overlaps it by half (IoU >= 0.5)."""
    if not isinstance(number, tuple):
        return low <= number <= high
    if all(low <= end <= high for end in number):
        return True
    return compute_overlap(number, (min(low, high), max(low, high))) >= 0.5 - 1e-12


def compute_overlap(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return the intersection over union of two ranges; 1e-12 is added to each length, as in the official code."""
    shared = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    union = (first[1] - first[0] + 1e-12) + (second[1] - second[0] + 1e-12) - shared
    return shared / union if union else 0.0


def score_answer(answer: str, gold: GoldAnswers, *, normalisation: Normalisation = "official") -> Scored:
    """Score one extracted answer against the gold answers of its question.

    Raises ValueError for gold answers that cannot be scored: an unknown type, no alias, a range without ends.
    """
    _check_gold(gold)
    unparsable = is_unparsable(answer, gold.question_type, normalisation=normalisation)
    if gold.question_type != "numerical":
        return Scored(float(matches_any(answer, gold.answers, normalisation=normalisation)), unparsable)
    if unparsable and _is_unicode(normalisation):
        return Scored(0.0, unparsable)
    number = parse_number(answer, normalisation=normalisation)
    assert gold.answer_low is not None and gold.answer_high is not None
    right = is_number_right((0.0, 0.0) if number is None else number, low=gold.answer_low, high=gold.answer_high)
    return Scored(float(right), unparsable)


def is_unparsable(answer: str, question_type: str, *, normalisation: Normalisation = "official") -> bool:
    """Say whether there is nothing to score: nothing left after normalisation, or no number in a numerical answer."""
    if question_type == "numerical":
        return parse_number(answer, normalisation=normalisation) is None
    return not normalise_answer(answer, normalisation=normalisation)


def _is_unicode(normalisation: str) -> bool:
    if normalisation not in get_args(Normalisation):
        allowed = ", ".join(get_args(Normalisation))
        raise ValueError(f"unknown normalisation: {normalisation!r}; allowed are {allowed}")
    return normalisation == "unicode"


def _unify_characters(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).translate(_SAME_SIGN)
    return "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text)


def _split_ranges(text: str) -> str:
    return "".join(
        " - " if sign == "-" and place and text[place - 1].isdigit() else sign for place, sign in enumerate(text)
    )


def _to_float(number: str, normalisation: Normalisation) -> float | None:
    """Read one match; None for a match such as "-.5.3", on which the official code stops with an error."""
    number = number.replace(",", "")
    number = number.rstrip(".") if normalisation == "unicode" else number.strip(".")
    if number.count(".") > 1:
        number = number.split(".")[0]
    try:
        return float(number)
    except ValueError:
        return None


def _check_gold(gold: GoldAnswers) -> None:
    if gold.question_type not in get_args(QuestionType):
        allowed = ", ".join(get_args(QuestionType))
        raise ValueError(f"unknown question type: {gold.question_type!r}; allowed are {allowed}")
    if gold.question_type != "numerical":
        if not gold.answers:
            raise ValueError(f"a {gold.question_type} question has no gold answer, so no answer to it can be scored")
    elif gold.answer_low is None or gold.answer_high is None:
        found = f"answer_low={gold.answer_low}, answer_high={gold.answer_high}"
        raise ValueError(f"a numerical question needs answer_low and answer_high; found {found}")


INFOSEEK = Metric(name="infoseek", score=score_answer)
