"""Encyclopedic-VQA's metric for its seed questions: exact match after processing, or an overlap of lists.

A list is right where its overlap (IoU) with one of the right ones is at least 0.5. Equal to the exact match of
google-research/encyclopedic_vqa (Mensink et al. 2023). What does not match exactly is officially given to BEM, a model
that is not reachable offline: it accepts more, never less.
"""

import re
import string
from collections.abc import Sequence
from functools import lru_cache

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored
from comem_core.evaluation.metrics.vqa import DIGITS, put_on_one_line

ALTERNATIVES, LIST = "|", "&&"
LIST_QUESTION = "list"

_ENCYCLOPEDIC_SIGNS = set(string.punctuation + "‘’´`_")
_ENCYCLOPEDIC_WORDS = DIGITS | {"entailment": "yes", "true": "yes", "contradiction": "no", "false": "no"}
_PREFIX = re.compile(r"\b(the answer is|a|an|the)\b")
_SPAN = "<extra_id_0> "
"""How T5 begins an answer; officially every one goes where the answer begins with one."""


@lru_cache(maxsize=1 << 16)
def process_encyclopedic_answer(text: str) -> str:
    """Bring an answer into the form in which Encyclopedic-VQA compares.

    Its table of contractions is left out: it is one to one, so that it changes no comparison.
    """
    text = put_on_one_line(text.lower())
    if text.startswith(_SPAN):
        text = text.replace(_SPAN, "")
    plain = "".join(sign for sign in text if sign not in _ENCYCLOPEDIC_SIGNS)
    return " ".join(_ENCYCLOPEDIC_WORDS.get(word, word) for word in _PREFIX.sub(" ", plain).split())


def score_encyclopedic(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by exact match with an alternative; for a `list` question alternatives are lists (`a&&b`).

    Raises ValueError for a question without gold answers.
    """
    if not gold.answers:
        raise ValueError("a question of Encyclopedic-VQA has no gold answer, so no answer to it can be scored")
    if gold.question_type == LIST_QUESTION:
        right = any(_lists_overlap(answer, each) for each in gold.answers)
    else:
        normal = process_encyclopedic_answer(answer)
        right = bool(normal) and any(normal == process_encyclopedic_answer(each) for each in gold.answers)
    return Scored(float(right), unparsable=not process_encyclopedic_answer(answer))


def _lists_overlap(answer: str, gold: str) -> bool:
    wanted = _entries(gold.split(LIST))
    given = _entries(answer.replace(" and ", ",").replace(" & ", ",").split(","))
    return bool(wanted) and len(wanted & given) / len(wanted | given) >= 0.5


def _entries(parts: Sequence[str]) -> set[str]:
    return {processed for part in parts if (processed := process_encyclopedic_answer(part))}


ENCYCLOPEDIC = Metric(name="encyclopedic_exact_match", score=score_encyclopedic)
