"""Parses what a VLM wrote about an item into a question and its proposed answer. The caller gives the markers.

If there is no pair, or the question contains the answer, the fault is returned; faults are counted, never repaired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comem_core.evaluation.answers import clean_answer, cut_thinking, find_marker
from comem_core.evaluation.meaning import is_empty, is_stated

UNPARSABLE = "unparsable"
ANSWER_IN_QUESTION = "answer in question"
REFUSED = "refused"
FAULTS = (UNPARSABLE, ANSWER_IN_QUESTION, REFUSED)  # of a reply; any other error means that there was none

_EMPHASIS = "*_ \t"


@dataclass(frozen=True, kw_only=True)
class QuestionAnswerPair:
    """A question and its proposed answer."""

    question: str
    answer: str


def parse_pair(text: str, *, markers: Mapping[str, Sequence[str]], truncated: bool = False) -> QuestionAnswerPair | str:
    """Find the first pair in a text: a line that begins with a question marker, then one with an answer marker.

    A question may span several lines. An answer is one line; in a truncated text that line must be complete. A pair in
    the model's thinking does not count.
    Returns the fault, `UNPARSABLE` or `ANSWER_IN_QUESTION`, if there is no pair.
    """
    text = cut_thinking(text)
    asked = find_marker(text, markers["question"])
    answered = find_marker(text, markers["answer"], start=asked.end()) if asked else None
    if asked is None or answered is None:
        return UNPARSABLE
    question = " ".join(text[asked.end() : answered.start()].split()).strip(_EMPHASIS)
    line, newline, _ = text[answered.end() :].lstrip("\n").partition("\n")
    answer = clean_answer(line)
    cut_off = truncated and not newline
    if is_empty(question) or is_empty(answer) or cut_off or find_marker(answer, markers["question"]):
        return UNPARSABLE
    if is_stated(answer, question):
        return ANSWER_IN_QUESTION
    return QuestionAnswerPair(question=question, answer=answer)
