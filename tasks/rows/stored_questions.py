"""Questions of an artefact as a sequence that holds little: words and pictures are read when they are asked for.

Knows Parquet; nothing of Prefect and Ray.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from comem_core.evaluation.conditions import AskedQuestion
from comem_core.knowledge.items import Question
from tasks.rows.stored_rows import HELD_BYTES, StoredPictures, StoredRows

QUESTION_COLUMNS = (
    "question_id", "question", "image", "language", "question_type", "answer_low", "answer_high", "right_option",
    "benchmark", "split", "attribute", "entity_id", "gold_item_id", "origin",
)  # fmt: skip
ASKED = ("question_id", "language", "image_id", "entity_id", "gold_item_id")


class StoredQuestions(Sequence[Question]):
    """The questions of some shards in the order in which they were written: by place, or by id with `of`.

    `without_pictures` is for what is decided over all questions at once.
    """

    def __init__(self, paths: Sequence[Path], *, held_bytes: int = HELD_BYTES):
        columns = (*QUESTION_COLUMNS, "answers", "options")
        self.rows = StoredRows(paths, columns, _question, id_column="question_id", held_bytes=held_bytes)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Question: ...

    @overload
    def __getitem__(self, place: slice) -> list[Question]: ...

    def __getitem__(self, place: int | slice) -> Question | list[Question]:
        if isinstance(place, slice):
            return [self.rows[each] for each in range(*place.indices(len(self)))]
        return self.rows[place + len(self) if place < 0 else place]

    def __iter__(self) -> Iterator[Question]:
        return iter(self.rows)

    def of(self, question_id: str) -> Question:
        """The question of this id. Raises KeyError where there is none."""
        return self.rows.of(question_id)

    def without_pictures(self) -> Iterator[AskedQuestion]:
        """All questions in order, with what decides which items are shown, and no picture read."""
        return (AskedQuestion(**row) for table in self.rows.read_tables(*ASKED) for row in table.to_pylist())

    def open_pictures(self) -> StoredPictures:
        """The pictures by their own ids."""
        return StoredPictures(self.rows, lambda question: question.image)


def _question(row: dict[str, Any]) -> Question:
    fields: dict[str, Any] = row | {name: tuple(row[name] or ()) for name in ("answers", "options")}
    return Question(**fields)
