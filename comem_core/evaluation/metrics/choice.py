"""Multiple choice by label: finds the option that a text names, by the rules of MRAG-Bench and of CVQA.

MRAG-Bench reads the whole text that the model wrote, by the rules of its `parse_multi_choice_response`, which comes
from MMMU. Where these rules find no letter, MRAG-Bench officially asks GPT-3.5, and MMMU draws at random. Here such a
text is unparsable and wrong, so that a score depends on the answers alone. In a text of more than five words without a
letter, MMMU looks for the words of the options, and so do we; MRAG-Bench's code fails there with an error.

CVQA has a hidden test set and no public official evaluator. The task in lmms-eval (neulab's, for Pangea) accepts a
letter alone or a letter before a period. We also accept the option's number, for which CoMEM's prompt asks, in the same
two forms.
"""

import string
from collections.abc import Sequence

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored, find_right_option

_ENDS = (",", ".", "!", "?", ";", ":", "'")
_WORDS_WITHOUT_CONTENT = 5


def find_option_of_response(response: str, options: Sequence[str]) -> int | None:
    """Find the option that a response names last: `(B)`, else ` B `, else, in a long response, an option's words."""
    response = response.strip()
    for sign in _ENDS:
        response = response.strip(sign)
    response = f" {response} "  # so that the first and the last letter are between spaces too
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
    """Score the whole text that a model wrote by whether it names the right option."""
    right = find_right_option(gold)
    named = find_option_of_response(response, gold.options)
    return Scored(float(named == right), unparsable=named is None)


def score_cvqa_choice(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by whether it gives the label of the right option."""
    right = find_right_option(gold)
    named = find_option_of_label(answer, len(gold.options))
    return Scored(float(named == right), unparsable=named is None)


MRAG_CHOICE = Metric(name="mrag_choice", score=score_mrag_choice, reads="raw")
CVQA_CHOICE = Metric(name="cvqa_choice", score=score_cvqa_choice)
