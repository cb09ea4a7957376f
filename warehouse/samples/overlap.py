"""Finds the questions of a benchmark whose picture or words are among training samples or knowledge items.

Owns the order of the queries in warehouse/contamination, and the sentences about their counts. Parameters decide what
counts as near; the consequences are decided elsewhere. Runs in memory over Parquet files, or over a warehouse's rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from warehouse.samples.sources import Source, define_macros, open_warehouse_in_memory, write_rows_query
from warehouse.schemas import make_schema
from warehouse.sql import list_parameters, list_sql_names, read_sql, write_literal

FOLDER = "contamination"
TRAINING, KNOWLEDGE = "training", "knowledge"
COLUMNS = "image_id, image_hash, image_chroma"
PICTURE_ASKED_ABOUT = "coalesce(asked.image_id, draft.image_id) AS image_id, asked.image_hash, asked.image_chroma"


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """The sources of one set of training samples: its drafts, the questions that they answer, and the kept samples."""

    drafts: Source
    questions: Source
    kept: Source


@dataclass(frozen=True, kw_only=True)
class Listed:
    """Parquet files that list training samples: `sample_id`, `words`, `image_id` (or null), the picture's hashes."""

    files: Sequence[Path]


def find_overlap(
    con: DuckDBPyConnection | None = None,
    /,
    *,
    questions: Source,
    items: Source,
    training: Sequence[TrainedOn | Listed],
    parameters: Mapping[str, object],
) -> pa.Table:
    """Return the rows of the table contamination for the questions, sorted; `training` may be empty.

    A str in a source is the fingerprint of an artefact in the warehouse `con`; a Path is a Parquet file (`con` may then
    be left out). ValueError names a missing parameter, or a `run_words` that is too small to be halved.
    """
    needed = {name for each in list_sql_names(FOLDER) for name in list_parameters(read_sql(FOLDER, each))} - {"source"}
    if missing := sorted(needed - parameters.keys()):
        raise ValueError(f"contamination needs the parameter {', '.join(missing)}; got {sorted(parameters)}")
    if int(str(parameters["run_words"])) < 2:
        raise ValueError(f"run_words is {parameters['run_words']}; expected runs of 2 words or more")
    with open_warehouse_in_memory() if con is None else nullcontext(con) as there:
        define_macros(there)
        try:
            there.execute(f"CREATE TEMP VIEW question AS {write_rows_query(there, 'question', questions)}")
            there.execute("CREATE TEMP TABLE overlap AS SELECT * EXCLUDE (artefact) FROM contamination LIMIT 0")
            _compare(there, TRAINING, [_write_samples_query(there, each) for each in training], parameters)
            known = write_rows_query(there, "knowledge_item", items)
            line = f"SELECT item_id AS other_id, text AS words, {COLUMNS} FROM ({known})"
            _compare(there, KNOWLEDGE, [line], parameters)
            found = there.sql("SELECT * FROM overlap ORDER BY question_id, source, kind")
            return found.to_arrow_table().cast(make_schema("contamination"))
        finally:
            there.execute("DROP VIEW IF EXISTS temp.question; DROP TABLE IF EXISTS temp.overlap")


def _write_samples_query(con: DuckDBPyConnection, given: TrainedOn | Listed) -> str:
    """Write the query for the samples of a set: the kept drafts with the pictures of their questions."""
    if isinstance(given, Listed):
        return f"""
            SELECT sample_id AS other_id, words, coalesce(image_id, sample_id) AS image_id, image_hash, image_chroma
            FROM read_parquet({write_literal([str(path) for path in given.files])})
        """
    drafts, kept = write_rows_query(con, "draft", given.drafts), write_rows_query(con, "sample", given.kept)
    return f"""
        SELECT sample_id AS other_id, draft.question AS words, {PICTURE_ASKED_ABOUT}
        FROM ({drafts}) AS draft
        SEMI JOIN ({kept}) AS kept USING (sample_id)
        LEFT JOIN ({write_rows_query(con, "question", given.questions)}) AS asked USING (question_id)
    """


def _compare(con: DuckDBPyConnection, source: str, others: Iterable[str], parameters: Mapping[str, object]) -> None:
    """Add the overlap with one source, whose rows are those of the queries `others`."""
    if not (query := " UNION ALL ".join(others)):
        return
    steps = {"near_picture": "near_pictures", "near_words": f"words_of_{source}"}
    try:
        con.execute(f"CREATE TEMP TABLE other AS {query}")
        for table, name in steps.items():
            _run(con, f"CREATE TEMP TABLE {table} AS", name, parameters)
        _run(con, "INSERT INTO overlap", "rows", dict(parameters) | {"source": source})
    finally:
        for table in ("other", *steps):
            con.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _run(con: DuckDBPyConnection, before: str, name: str, parameters: Mapping[str, object]) -> None:
    text = read_sql(FOLDER, name)
    con.execute(f"{before} {text}", {key: parameters[key] for key in list_parameters(text)})


def describe_overlap(counts: Mapping[str, Any]) -> list[str]:
    """Describe the counts in sentences: the training samples, what is not known, and the knowledge items."""
    name, total, trained, known = (counts[key] for key in ("benchmark", "questions", TRAINING, KNOWLEDGE))
    flagged, num_known = trained["flagged"], known["flagged"]
    found = f"{name}: {flagged} of {total} questions are like known training samples ({_write_kinds(trained)})"
    if counts["unknown"]:
        sentences = [found] if flagged else []
        others = f"whether the other {total - flagged}" if flagged else f"{name}: whether any of {total} questions"
        sentences += [f"{others} are in the training data is not known, so none is called clean"]
        sentences += [f"{name}: {reason}" for reason in counts["unknown"]]
    elif flagged:
        sentences = [f"{found}; {total - flagged} are clean"]
    else:
        sentences = [f"{name}: all {total} questions are clean: none is like a training sample"]
    shown = f" ({_write_kinds(known)})" if num_known else ""
    return [*sentences, f"{name}: {num_known} of {total} questions are like knowledge items{shown}"]


def _write_kinds(counts: Mapping[str, int]) -> str:
    words = {"both": "picture and words", "image": "picture", "question": "words"}
    return ", ".join(f"{words[kind]} {counts[kind]}" for kind in words if counts[kind])
