"""Makes a self-contained training set from kept samples: one row for each, with pictures, items, ranks and scores.

Reads Parquet shards and yields Arrow tables of bounded size. Independent of where they are written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

from warehouse.sql import read_sql, write_literal

MEMORY_LIMIT = "1GB"
COLUMNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("sample_id", "question_id", "translated_from"),
     "ids made from content; the sample of which this one is a translation"),
    (("mode", "model", "seed", "prompt_hash"),
     "how the answer was made: `answer` (to a given question), `ask` (the model asked itself), `translate`"),
    (("language", "question", "answer", "answers"), "the texts; `answers` are all accepted answers"),
    (("answer_raw",), "the model's full reply, from which the short answer was taken"),
    (("image", "image_id"), "the question's picture as an encoded file, and its id made from content"),
    (("item_ids", "item_ranks", "retrieval_scores"), "the retrieved items, best first"),
    (("item_images", "item_texts", "item_languages", "item_titles"),
     "the items' contents; the picture is null if an item is only text"),
    (("item_sources", "item_licences"), "the items' sources and licences"),
    (("question_type", "attribute"), "the kind of answer, and the property asked about"),
)  # fmt: skip
"""The columns of a training set by groups, and what each group means."""


def make_training_tables(
    *,
    drafts: Sequence[Path],
    questions: Sequence[Path],
    items: Sequence[Path],
    kept: Sequence[Path],
    rows_per_table: int = 4096,
) -> Iterator[pa.Table]:
    """Yield the complete kept samples in order of sample_id, at most `rows_per_table` per table; at least one table.

    Each table reads the items again, so that memory holds only one table's pictures; smaller tables cost more time.
    Shards of questions and items have their pictures in the column `image`.

    Raises:
        ValueError: a kept sample without draft, question or item.
    """
    with (
        tempfile.TemporaryDirectory() as spill,
        duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": spill}) as con,
    ):
        for name, paths in (("draft", drafts), ("question", questions), ("knowledge_item", items), ("sample", kept)):
            listed = write_literal([str(path) for path in paths])
            con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({listed}, union_by_name = true)")
        ids = [name for (name,) in con.execute("SELECT DISTINCT sample_id FROM sample ORDER BY sample_id").fetchall()]
        for start in range(0, max(1, len(ids)), rows_per_table):
            yield _read_complete(con, ids[start : start + rows_per_table])


def _read_complete(con: DuckDBPyConnection, sample_ids: list[str]) -> pa.Table:
    table = con.sql(read_sql("exports", "training_rows"), params={"sample_ids": sample_ids}).to_arrow_table()
    if lost := sorted(set(sample_ids) - set(table["sample_id"].to_pylist())):
        raise ValueError(f"kept samples without a draft: {', '.join(lost[:3])} ({len(lost)} in all)")
    for row in table.select(["sample_id", "question_id", "image", "item_ids", "item_texts"]).to_pylist():
        if row["image"] is None:
            raise ValueError(f"sample {row['sample_id']}: question {row['question_id']} is missing, or has no picture")
        for item_id, text in zip(row["item_ids"] or (), row["item_texts"] or (), strict=True):
            if text is None:
                raise ValueError(f"sample {row['sample_id']}: item {item_id} is not among the items")
    return table
