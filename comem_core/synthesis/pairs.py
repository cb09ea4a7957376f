"""From what a VLM wrote about an item to a question and its proposed answer. Knows the markers only as it is told them.

A pair that cannot be found, or that gives its answer away, is named by its fault: it is counted, never mended.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comem_core.evaluation.metrics.infoseek import normalise_answer
from comem_core.synthesis.judging import is_grounded

UNPARSABLE = "unparsable"
ANSWER_IN_QUESTION = "answer in question"

# What may stand around a marker: list numbers, bullets, emphasis, headings; an ASCII or a full-width colon behind it.
_BEFORE, _BEHIND = r"^[\s>#*_\-\d.)]*", r"[\s*_]*[:：][\s*_]*"
_EMPHASIS = "*_ \t"


@dataclass(frozen=True, kw_only=True)
class QuestionAnswerPair:
    """A question and the answer that its writer proposes."""

    question: str
    answer: str


def parse_pair(text: str, *, markers: Mapping[str, Sequence[str]], truncated: bool = False) -> QuestionAnswerPair | str:
    """Find the first pair in a text: a line that a question marker opens, and behind it one that an answer marker does.

    A question may go on over several lines; an answer is one line, and of a truncated text it must have ended.
    Returns the fault, `UNPARSABLE` or `ANSWER_IN_QUESTION`, where there is no pair.
    """
    asked = _opened(text, markers["question"])
    answered = _opened(text, markers["answer"], start=asked.end()) if asked else None
    if asked is None or answered is None:
        return UNPARSABLE
    question = " ".join(text[asked.end() : answered.start()].split()).strip(_EMPHASIS)
    line, newline, _ = text[answered.end() :].lstrip("\n").partition("\n")
    answer = line.strip().strip(_EMPHASIS)
    says_nothing = not normalise_answer(question, normalisation="unicode") or not normalise_answer(
        answer, normalisation="unicode"
    )
    if says_nothing or (truncated and not newline) or _opened(answer, markers["question"]):
        return UNPARSABLE
    if is_grounded(answer, [question]):
        return ANSWER_IN_QUESTION
    return QuestionAnswerPair(question=question, answer=answer)


def _opened(text: str, markers: Sequence[str], *, start: int = 0) -> re.Match[str] | None:
    """Find the first marker at the beginning of a line."""
    words = "|".join(re.escape(marker) for marker in markers)
    return re.compile(f"{_BEFORE}(?:{words}){_BEHIND}", re.IGNORECASE | re.MULTILINE).search(text, start)
