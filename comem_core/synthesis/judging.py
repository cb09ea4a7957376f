"""Judges a draft: whether the answer is right, is in the items, and would also have been given without them.

Pure functions of texts; no model runs here. Results are dicts with the columns of `verdict`.
"""

from collections.abc import Sequence

from comem_core.evaluation.meaning import is_agreeing, is_empty, is_stated, list_numbers, list_stated_numbers
from comem_core.evaluation.metrics import Metric
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.knowledge.items import Question
from comem_core.synthesis.seeds import find_seed_metric

BY_CONSISTENCY, BY_PROPOSED_ANSWER = "consistency", "proposed_answer"


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
    - `metric_score`: seed: the official metric, from 0.0 to 1.0, and 0.0 for an answer that means something else than
      the gold answers. Asked: 1.0 if the answer agrees with the proposed one or, if none was proposed, with
      `second_answer`, which was given with the same items in another order.
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
        metric_score, without_score = (_score_seed(metric, each, question) for each in (answer, answer_without_items))
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


def _score_seed(metric: Metric, answer: str, question: Question) -> float:
    """Score by the official metric, but never an answer that says nothing, nor one that InfoSeek's metric takes for a
    gold answer although they mean different things (3.5 m and 35 m are the same without punctuation)."""
    if is_empty(answer):
        return 0.0
    if metric is INFOSEEK and question.question_type != "numerical":
        return metric.score(answer, question).correct * any(is_agreeing(answer, each) for each in question.answers)
    return metric.score(answer, question).correct


def is_grounded(answer: str, item_texts: Sequence[str], *, question_type: str = "string") -> bool:
    """Tell whether one of the texts contains the answer as whole words and whole numbers, which may be written another
    way. Of the answer to a numerical question, only the first two numbers count."""
    if question_type == "numerical" and (wanted := list_numbers(answer)[:2]):
        stated = map(list_stated_numbers, item_texts)
        return any(all(any(map(each.is_stated_by, numbers)) for each in wanted) for numbers in stated)
    return any(is_stated(answer, text) for text in item_texts)
