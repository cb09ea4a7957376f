"""Rows of the prediction table: what names a prediction, and what its answer is marked by."""

from collections.abc import Mapping
from typing import Any

from comem_core.evaluation.answers import extract_answer
from comem_core.evaluation.metrics import Metric
from comem_core.knowledge.items import Question, hash_content_parts
from comem_core.prompts import ExtractionMethod


def name_row(question: Question, condition: str, k: int) -> dict[str, Any]:
    """Return the columns that say which question was asked, and how."""
    named = {"benchmark": question.benchmark, "question_id": question.question_id, "split": question.split}
    return rename_row(named, condition, k)


def rename_row(row: Mapping[str, Any], condition: str, k: int) -> dict[str, Any]:
    """Return the row of a question with the columns that name it as a prediction under another condition or k."""
    name = hash_content_parts(row["question_id"], condition, str(k))
    return {**row, "prediction_id": name, "condition": condition, "k": k}


def mark_row(text: str, question: Question, official: Metric, *, extract: ExtractionMethod) -> dict[str, Any]:
    """Return the columns that depend on the model's text: the text, the short answer in it, and whether it is right."""
    answer = extract_answer(text, method=extract)
    return {"answer_raw": text, "answer": answer, "correct": official.mark(text, answer, question).correct}
