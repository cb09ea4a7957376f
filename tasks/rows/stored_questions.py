"""The questions of an artefact as a sequence that needs little memory: texts and pictures are read on demand.

Uses Parquet, but not Prefect or Ray.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from comem_core.evaluation.conditions import AskedQuestion
from comem_core.knowledge.items import Question
from comem_core.knowledge.stored_rows import HELD_BYTES, StoredPictures, StoredRows

QUESTION_COLUMNS = (
    "question_id", "question", "image", "language", "question_type", "answer_low", "answer_high", "right_option",
    "benchmark", "split", "attribute", "entity_id", "gold_item_id", "origin",
)  # fmt: skip
ASKED = ("question_id", "language", "image_id", "entity_id", "gold_item_id")


class StoredQuestions(Sequence[Question]):
    """The questions of some shards in the order in which they were written: by place, or by id with `of`.

    `without_pictures` is for decisions that need all questions at once.
    """

    def __init__(self, paths: Sequence[Path], *, held_bytes: int = HELD_BYTES):
        columns = (*QUESTION_COLUMNS, "answers", "options")
        self.rows = StoredRows(paths, columns, _make_question, id_column="question_id", held_bytes=held_bytes)

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
        """Return the question with this id. Raises KeyError if there is none."""
        return self.rows.of(question_id)

    def without_pictures(self) -> Iterator[AskedQuestion]:
        """Yield all questions in order, with the fields that decide which items are shown; reads no picture."""
        return (AskedQuestion(**row) for table in self.rows.read_tables(*ASKED) for row in table.to_pylist())

    def open_pictures(self) -> StoredPictures:
        """Return the questions' pictures by `image_id`."""
        return StoredPictures(self.rows, lambda question: question.image)


def _make_question(row: dict[str, Any]) -> Question:
    fields: dict[str, Any] = row | {name: tuple(row[name] or ()) for name in ("answers", "options")}
    return Question(**fields)
