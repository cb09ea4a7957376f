"""Converts knowledge items and questions to rows of shards and back: the warehouse's columns, and the picture."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.knowledge.corpora import FoundItem
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.knowledge.pictures import hash_picture
from comem_core.knowledge.stored_items import ITEM_COLUMNS, StoredItems
from tasks.engine.partial import Partial
from tasks.engine.store import Reference
from tasks.rows.stored_questions import QUESTION_COLUMNS, StoredQuestions
from warehouse.schemas import check_rows, make_blank_row, make_schema

PICTURE: Mapping[str, pa.DataType] = {"image": pa.binary()}
ITEM_SCHEMA = make_schema("knowledge_item", extra=PICTURE)
HASHES = ("image_hash", "image_chroma")
QUESTION_SCHEMA = make_schema("question", extra=PICTURE)
ROWS_OF_A_GROUP = 64  # rows that are read together when one row with its picture is asked for


def make_item_table(items: Iterable[KnowledgeItem]) -> pa.Table:
    """Make a table of items that were not read from a corpus: file and row stay empty."""
    listed = list(items)
    return _make_item_table(listed, [_hash_image(item.image) for item in listed])


def make_found_item_table(found: Sequence[FoundItem]) -> pa.Table:
    """Make a table of items with the file and row of the corpus where each was read."""
    place = {"file": [each.file for each in found], "row": [each.row for each in found]}
    return _make_item_table([each.item for each in found], [each.hashes for each in found], place)


def _make_item_table(
    items: Sequence[KnowledgeItem],
    hashes: Sequence[tuple[int, int] | None],
    place: Mapping[str, list[Any]] | None = None,
) -> pa.Table:
    """Make a table column by column, which takes a third of the time that rows take."""
    values: dict[str, list[Any]] = {
        name: [getattr(item, name) for item in items] for name in ("item_id", *ITEM_COLUMNS)
    }
    values["image_id"] = [item.image and item.image_id for item in items]
    values |= {name: [each and each[number] for each in hashes] for number, name in enumerate(HASHES)}
    values |= place or {}
    columns = [pa.array(values.get(field.name) or [None] * len(items), field.type) for field in ITEM_SCHEMA]
    return pa.Table.from_arrays(columns, schema=ITEM_SCHEMA)


def make_question_table(questions: Iterable[Question]) -> pa.Table:
    rows = [
        make_blank_row("question")
        | {"image_id": question.image_id, "answers": list(question.answers), "options": list(question.options)}
        | dict(zip(HASHES, _hash_image(question.image) or (None, None), strict=True))
        | {name: getattr(question, name) for name in QUESTION_COLUMNS}
        for question in questions
    ]
    return check_rows("question", rows, extra=PICTURE)


def write_questions(artefact: Partial, name: str, questions: Iterable[Question]) -> int:
    """Write questions as the shard `name`, a row group at a time, and return how many there were."""
    num_rows, left = 0, iter(questions)
    with artefact.open_shard(name, QUESTION_SCHEMA) as writer:
        while group := list(islice(left, ROWS_OF_A_GROUP)):
            writer.write_table(make_question_table(group))
            num_rows += len(group)
    return num_rows


def read_items(reference: Reference) -> StoredItems:
    """Return the items of an artefact by id; texts and pictures are read on demand."""
    return StoredItems(reference.folder)


def read_questions(reference: Reference) -> StoredQuestions:
    """Return the questions of an artefact in the order in which they were written; each is read on demand."""
    return StoredQuestions(list_shards(reference, "question"))


def open_item_lengths(items: StoredItems, *, most: int | None = None, of_picture: int = 0) -> Callable[[str], int]:
    """Return a function from an item's id to the length of its text in characters, at most `most`.

    An item with a picture counts `of_picture` more. Memory holds one number for each item, and no text.
    """
    found = [np.zeros(0, np.int32)]
    for table in items.rows.read_tables("text", "image_id"):
        lengths_N = pc.call_function("utf8_length", [table["text"]]).to_numpy()
        pictured_N = pc.call_function("is_valid", [table["image_id"]]).to_numpy()
        found.append(np.minimum(lengths_N, most or np.iinfo(np.int32).max) + of_picture * pictured_N.astype(np.int32))
    lengths_N = np.concatenate(found)

    def length(item_id: str) -> int:
        place = items.rows.find_place(item_id)
        assert place is not None, f"no item {item_id}"
        return int(lengths_N[place])

    return length


def read_rows(reference: Reference, table: str = "") -> Iterator[dict[str, Any]]:
    """Yield the rows of an artefact's shards, in order of shard names; `table` chooses one if there are several."""
    for path in list_shards(reference, table):
        yield from pq.read_table(path).to_pylist()


def read_columns(reference: Reference, *names: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of the `part-*` shards with these columns only; without pictures they fit into memory."""
    for path in sorted(reference.folder.glob("part-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=list(names)):
                yield from batch.to_pylist()


def list_shards(reference: Reference, table: str = "") -> list[Path]:
    """List the shards of a table: for `question`, `questions-*.parquet` if the artefact has them, else `part-*`."""
    return _list_shards_in(reference.folder, table)


def read_asked_questions(questions: Path) -> list[dict[str, Any]]:
    """Read the rows of a benchmark's questions from the folder of their artefact, without pictures."""
    names = make_schema("question").names
    return [row for path in list_question_shards(questions) for row in pq.read_table(path, columns=names).to_pylist()]


def list_question_shards(folder: Path) -> list[Path]:
    """List the shards of questions in the folder of an artefact."""
    return _list_shards_in(folder, "question")


def _list_shards_in(folder: Path, table: str) -> list[Path]:
    named = sorted(folder.glob(f"{table}s-*.parquet")) if table else []
    return named or sorted(folder.glob("part-*.parquet"))


@lru_cache(maxsize=512)
def _hash_image(image: bytes | None) -> tuple[int, int] | None:
    return None if image is None else hash_picture(image)
