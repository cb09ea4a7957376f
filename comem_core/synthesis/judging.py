"""Judges a draft: whether the answer is right, is in the items, and would also have been given without them.

Pure functions of texts; no model runs here. Results are dicts with the columns of `verdict`.
"""

import unicodedata
from collections.abc import Sequence

from comem_core.evaluation.metrics.infoseek import Normalisation, find_numbers, normalise_answer
from comem_core.knowledge.items import Question
from comem_core.synthesis.seeds import find_seed_metric

BY_CONSISTENCY, BY_PROPOSED_ANSWER = "consistency", "proposed_answer"

_WRITTEN_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


def judge(
    answer: str,
    question: Question,
    *,
    item_texts: Sequence[str],
    answer_without_items: str,
    second_answer: str | None = None,
) -> dict[str, str | float | bool | None]:
    """Judge an extracted answer. Returns the columns of `verdict` that are about texts:

    - `judge`: the rule that gave the scores. For a seed question, the name of its benchmark's metric. For a question
      that the VLM asked itself, `proposed_answer` if it wrote an answer with the question, else `consistency`.
    - `metric_score`: seed: the official metric, from 0.0 to 1.0. Asked: 1.0 if the answer agrees with the proposed one
      or, if none was proposed, with `second_answer`, which was given with the same items in another order.
    - `consistent`: asked: whether `second_answer` agrees with the answer. Seed: None.
    - `answer_without_items`: the VLM's answer without any items.
    - `without_score`: the score of that answer (asked: whether it agrees with the answer). 1.0 means that the items
      were not needed.
    - `grounded`: whether the text of one of the items contains the answer.

    Raises ValueError for an asked question without a second answer, or a seed question of an unknown benchmark.
    """
    consistent = None
    if question.origin == "seed":
        metric = find_seed_metric(question.benchmark)
        name = metric.name
        metric_score = metric.score(answer, question).correct
        without_score = metric.score(answer_without_items, question).correct
    elif second_answer is None:
        raise ValueError(f"question {question.question_id!r} was asked by the model; judging it needs a second answer")
    else:
        name = BY_PROPOSED_ANSWER if question.answers else BY_CONSISTENCY
        consistent = is_agreeing(answer, second_answer)
        right = any(is_agreeing(answer, proposed) for proposed in question.answers) if question.answers else consistent
        metric_score = float(right)
        without_score = float(is_agreeing(answer, answer_without_items))
    return {
        "judge": name,
        "metric_score": metric_score,
        "consistent": consistent,
        "answer_without_items": answer_without_items,
        "without_score": without_score,
        "grounded": is_grounded(answer, item_texts, question_type=question.question_type),
        "second_answer": second_answer,
    }


def is_agreeing(first: str, second: str) -> bool:
    """Tell whether two answers are equal after normalisation. Two empty answers do not agree."""
    normal = normalise_answer(first, normalisation="unicode")
    return bool(normal) and normal == normalise_answer(second, normalisation="unicode")


def is_grounded(answer: str, item_texts: Sequence[str], *, question_type: str = "string") -> bool:
    """Tell whether one of the texts contains the answer as whole words; a number may be written differently."""
    if question_type == "numerical" and (wanted := find_numbers(answer, normalisation="unicode")[:2]):
        return any(set(wanted) <= set(find_numbers(text, normalisation="unicode")) for text in item_texts)
    forms = (normalise_answer, _normalise_with_spaces)
    return any(
        _contains_words(form(answer, normalisation="unicode"), form(text, normalisation="unicode"))
        for form in forms
        for text in item_texts
    )


def _contains_words(normal: str, text: str) -> bool:
    """Tell whether `text` contains `normal`, and not only as a part of a longer word; both are normalised."""
    start = text.find(normal) if normal else -1
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(normal) :][:1]
        if not _is_one_word(before, normal[0]) and not _is_one_word(after, normal[-1]):
            return True
        start = text.find(normal, start + 1)
    return False


def _is_one_word(neighbour: str, edge: str) -> bool:
    """Tell whether an answer's edge and the neighbouring letter, mark or digit belong to one longer word."""
    if not neighbour or _is_written_without_spaces(edge):
        return False
    return unicodedata.category(neighbour)[0] in "LMN"


def _normalise_with_spaces(text: str, *, normalisation: Normalisation) -> str:
    """Normalise with a space for each punctuation mark, so that "French/Arabic" becomes two words, not one."""
    spaced = "".join(" " if unicodedata.category(sign).startswith("P") else sign for sign in text)
    return normalise_answer(spaced, normalisation=normalisation)


def _is_written_without_spaces(sign: str) -> bool:
    return unicodedata.name(sign, "").startswith(_WRITTEN_WITHOUT_SPACES)
