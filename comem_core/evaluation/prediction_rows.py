"""Rows of the prediction table: what names a prediction, and what its answer is marked by."""

from typing import Any

from comem_core.evaluation.answers import extract_answer
from comem_core.evaluation.metrics import Metric
from comem_core.knowledge.items import Question, hash_content_parts
from comem_core.prompts import ExtractionMethod


def name_row(question: Question, condition: str, k: int) -> dict[str, Any]:
    """Return the columns that say which question was asked, and how."""
    return {
        "prediction_id": hash_content_parts(question.question_id, condition, str(k)),
        "benchmark": question.benchmark,
        "question_id": question.question_id,
        "split": question.split,
        "condition": condition,
        "k": k,
    }


def mark_row(text: str, question: Question, official: Metric, *, extract: ExtractionMethod) -> dict[str, Any]:
    """Return the columns that depend on the model's text: the text, the short answer in it, and whether it is right."""
    answer = extract_answer(text, method=extract)
    return {"answer_raw": text, "answer": answer, "correct": official.mark(text, answer, question).correct}
