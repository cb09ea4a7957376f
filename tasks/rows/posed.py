"""Questions with the items that were retrieved for them, read on demand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comem_core.knowledge.stored_rows import StoredRows
from comem_core.prompts import MAX_CHARACTERS
from comem_core.synthesis.generation import QuestionWithItems
from tasks.engine.store import Reference
from tasks.rows.tables import list_shards, open_item_lengths, read_columns, read_items, read_questions

QUESTION, RETRIEVED = ("question_id", "question"), ("question_id", "item_ids", "scores")
# The length of a picture in characters, when prompts are ordered by length.
CHARACTERS_OF_A_PICTURE = 256


@dataclass(frozen=True, kw_only=True)
class Posed:
    """Questions with what was retrieved for them, by reference."""

    knowledge: Reference
    questions: Reference
    retrieved: Reference

    @property
    def inputs(self) -> dict[str, Reference]:
        return {"knowledge": self.knowledge, "questions": self.questions, "retrieved": self.retrieved}

    def read(self, *, k: int) -> Callable[[str], QuestionWithItems]:
        """Return a function from a question's id to the question with its first k items and scores, read on demand."""
        items, questions, found = read_items(self.knowledge), read_questions(self.questions), self.open_retrieved()

        def asked(question_id: str) -> QuestionWithItems:
            row = found.of(question_id)
            return QuestionWithItems(
                question=questions.of(question_id),
                items=tuple(items[item_id] for item_id in row["item_ids"][:k]),
                scores=tuple(row["scores"][:k]),
            )

        return asked

    def open_retrieved(self) -> StoredRows[dict[str, Any]]:
        """Return what was retrieved for each question, read on demand."""
        return StoredRows(list_shards(self.retrieved), RETRIEVED, dict, id_column="question_id")

    def estimate_lengths(self, *, k: int) -> dict[str, int]:
        """Estimate the length of each question's prompt in characters, by question id; reads no picture."""
        lengths = open_item_lengths(read_items(self.knowledge), most=MAX_CHARACTERS, of_picture=CHARACTERS_OF_A_PICTURE)
        asked = {row["question_id"]: len(row["question"]) for row in read_columns(self.questions, *QUESTION)}
        return {
            row["question_id"]: asked[row["question_id"]] + sum(map(lengths, row["item_ids"][:k]))
            for row in read_columns(self.retrieved, "question_id", "item_ids")
        }
