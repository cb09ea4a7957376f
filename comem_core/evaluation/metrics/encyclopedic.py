"""Encyclopedic-VQA's metric for its seed questions: exact match after processing, or overlap of lists.

A list is right where its overlap (IoU) with one of the gold lists is at least 0.5. Equal to the exact match of
google-research/encyclopedic_vqa (Mensink et al. 2023). Officially, BEM then judges the answers that do not match
exactly. BEM is a model that is not available offline; it can only add right answers.
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
"""T5 begins an answer with this. As officially, all occurrences are removed where an answer begins with it."""


@lru_cache(maxsize=1 << 16)
def process_encyclopedic_answer(text: str) -> str:
    """Normalise an answer as Encyclopedic-VQA does before it compares.

    The official table of contractions is left out: it maps one to one, so it changes no comparison.
    """
    text = put_on_one_line(text.lower())
    if text.startswith(_SPAN):
        text = text.replace(_SPAN, "")
    plain = "".join(sign for sign in text if sign not in _ENCYCLOPEDIC_SIGNS)
    return " ".join(_ENCYCLOPEDIC_WORDS.get(word, word) for word in _PREFIX.sub(" ", plain).split())


def score_encyclopedic(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by exact match with one of the gold answers; for a `list` question these are lists (`a&&b`).

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
    wanted = _process_entries(gold.split(LIST))
    given = _process_entries(answer.replace(" and ", ",").replace(" & ", ",").split(","))
    return bool(wanted) and len(wanted & given) / len(wanted | given) >= 0.5


def _process_entries(parts: Sequence[str]) -> set[str]:
    return {processed for part in parts if (processed := process_encyclopedic_answer(part))}


ENCYCLOPEDIC = Metric(name="encyclopedic_exact_match", score=score_encyclopedic)
