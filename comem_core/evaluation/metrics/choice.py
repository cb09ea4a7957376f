"""Multiple choice by a label: which option a text names, as MRAG-Bench and as CVQA find it.

MRAG-Bench reads all that the model wrote, by the rules of its `parse_multi_choice_response`, which is MMMU's. About a
text in which these find no letter GPT-3.5 is officially asked (MMMU draws at random there); here it is unparsable and
wrong, so that a score depends on nothing but the answers. In a text of more than five words without a letter MMMU looks
for the options' own words, and so do we; MRAG-Bench's code stops there with an error.

CVQA has no official evaluator but a hidden test; lmms-eval's task (neulab's, for Pangea) takes a letter alone or one
with a period behind it. We take the option's number, as CoMEM's prompt asks for it, in the same two ways.
"""

import string
from collections.abc import Sequence

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored, find_right_option

_ENDS = (",", ".", "!", "?", ";", ":", "'")
_WORDS_WITHOUT_CONTENT = 5


def find_option_of_response(response: str, options: Sequence[str]) -> int | None:
    """Find the option that a response names last: `(B)`, else ` B `, else, in a long one, an option's words."""
    response = response.strip()
    for sign in _ENDS:
        response = response.strip(sign)
    response = f" {response} "  # so that a letter at an end stands between spaces too
    letters = string.ascii_uppercase[: len(options)]
    for pattern in ("({})", " {} "):
        named = [response.rfind(pattern.format(letter)) for letter in letters]
        if max(named, default=-1) >= 0:
            return named.index(max(named))
    if len(response.split()) <= _WORDS_WITHOUT_CONTENT:
        return None
    named = [response.lower().rfind(option.lower()) for option in options]
    return named.index(max(named)) if max(named, default=-1) >= 0 else None


def find_option_of_label(answer: str, num_options: int) -> int | None:
    """Find the option whose number (from 1) or capital letter is the answer, alone or before a period."""
    label = answer.split(".", maxsplit=1)[0]
    labels = {string.ascii_uppercase[place]: place for place in range(num_options)}
    labels |= {str(place + 1): place for place in range(num_options)}
    return labels.get(label)


def score_mrag_choice(response: str, gold: GoldAnswers) -> Scored:
    """Score all that a model wrote by whether the option it names is the right one."""
    right = find_right_option(gold)
    named = find_option_of_response(response, gold.options)
    return Scored(float(named == right), unparsable=named is None)


def score_cvqa_choice(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by whether the label that it gives is the right option's."""
    right = find_right_option(gold)
    named = find_option_of_label(answer, len(gold.options))
    return Scored(float(named == right), unparsable=named is None)


MRAG_CHOICE = Metric(name="mrag_choice", score=score_mrag_choice, reads="raw")
CVQA_CHOICE = Metric(name="cvqa_choice", score=score_cvqa_choice)
