"""Parses what a VLM wrote about an item into a question and its proposed answer. The caller gives the markers.

If there is no pair, or the question contains the answer, the fault is returned; faults are counted, never repaired.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comem_core.evaluation.meaning import is_empty, is_stated

UNPARSABLE = "unparsable"
ANSWER_IN_QUESTION = "answer in question"

# What may surround a marker: list numbers, bullets, emphasis, headings; and after it an ASCII or a full-width colon.
_BEFORE, _BEHIND = r"^[\s>#*_\-\d.)]*", r"[\s*_]*[:：][\s*_]*"
_EMPHASIS = "*_ \t"


@dataclass(frozen=True, kw_only=True)
class QuestionAnswerPair:
    """A question and its proposed answer."""

    question: str
    answer: str


def parse_pair(text: str, *, markers: Mapping[str, Sequence[str]], truncated: bool = False) -> QuestionAnswerPair | str:
    """Find the first pair in a text: a line that begins with a question marker, then one with an answer marker.

    A question may span several lines. An answer is one line; in a truncated text that line must be complete.
    Returns the fault, `UNPARSABLE` or `ANSWER_IN_QUESTION`, if there is no pair.
    """
    asked = _find_marker(text, markers["question"])
    answered = _find_marker(text, markers["answer"], start=asked.end()) if asked else None
    if asked is None or answered is None:
        return UNPARSABLE
    question = " ".join(text[asked.end() : answered.start()].split()).strip(_EMPHASIS)
    line, newline, _ = text[answered.end() :].lstrip("\n").partition("\n")
    answer = line.strip().strip(_EMPHASIS)
    cut_off = truncated and not newline
    if is_empty(question) or is_empty(answer) or cut_off or _find_marker(answer, markers["question"]):
        return UNPARSABLE
    if is_stated(answer, question):
        return ANSWER_IN_QUESTION
    return QuestionAnswerPair(question=question, answer=answer)


def _find_marker(text: str, markers: Sequence[str], *, start: int = 0) -> re.Match[str] | None:
    """Find the first marker at the beginning of a line."""
    words = "|".join(re.escape(marker) for marker in markers)
    return re.compile(f"{_BEFORE}(?:{words}){_BEHIND}", re.IGNORECASE | re.MULTILINE).search(text, start)
