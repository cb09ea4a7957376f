"""Makes the rows of a large synthesis to measure on: drafts with verdicts and questions, and a benchmark.

Owns their number and their faults (warehouse/measures/million/*.sql): questions in five languages about pictures, about
fifty for each picture; 2 % repeat an earlier draft, 1 % nearly repeat one, and 4 % have each of the other faults. The
rows are the same each time.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from warehouse.connection import apply_migrations
from warehouse.sql import list_parameters, read_sql, write_literal

FOLDER = "measures/million"
DRAFTS_A_PICTURE, ITEMS_A_PICTURE = 50, 5
ROWS_A_SHARD = 100_000
FILTERED = {"question": "question", "draft": "draft", "verdict": "verdict", "benchmark": "question"}
TRACED = {"retrieval": "retrieval", "item": "knowledge_item", "bank_entry": "bank_entry", "prediction": "prediction"}


@dataclass(frozen=True)
class Rows:
    """The Parquet shards of a large synthesis, by what they hold."""

    shards: dict[str, list[Path]]

    def list_sources(self) -> dict[str, list[Path]]:
        """Return the sources for `run_filters`."""
        return {f"{name}s": self.shards[name] for name in FILTERED}


def set_all_filters(num_drafts: int) -> dict[str, object]:
    """Return every filter's parameters, all switched on; the limits for over-represented drafts grow with the rows."""
    return {
        "min_metric_score": 1.0,
        "max_without_score": 1.0,
        "max_answer_words": 12,
        "min_question_words": 2,
        "max_question_words": 40,
        "must_be_grounded": True,
        "must_be_consistent": True,
        "must_be_in_language": True,
        "near_duplicate_similarity": 0.9,
        "near_duplicate_bits": 6,
        "contaminated_bits": 6,
        "contaminated_ngram": 5,
        "contaminated_share": 0.9,
        "contaminated_pictures": 50,  # twenty pictures show the place that a question names
        "max_per_answer": max(2, num_drafts // 2500),
        "max_per_item": max(12, num_drafts // 2500),
        "min_round_trip": 0.5,
        "held_out_share": 0.1,
    }


def make_rows(folder: Path, num_drafts: int, *, traced: bool = False) -> Rows:
    """Write the shards of `num_drafts` drafts, with questions, verdicts and a benchmark, into `folder`.

    `traced` adds the rows that lineage follows: retrieval, items, the bank, and a prediction for every five drafts.
    """
    num_pictures = max(1, num_drafts // DRAFTS_A_PICTURE)
    sizes = {"num_pictures": num_pictures, "num_items": num_pictures * ITEMS_A_PICTURE}
    spans = {"item": sizes["num_items"], "bank_entry": sizes["num_items"], "prediction": num_drafts // 5}
    tables = FILTERED | TRACED if traced else FILTERED
    shards: dict[str, list[Path]] = {name: [] for name in tables}
    folder.mkdir(parents=True, exist_ok=True)
    with closing(duckdb.connect()) as con:
        apply_migrations(con)
        con.execute(read_sql(FOLDER, "words"))
        for number, first in enumerate(range(0, num_drafts, ROWS_A_SHARD)):
            values = sizes | {"first": first, "last": min(first + ROWS_A_SHARD, num_drafts)}
            _run(con, "plan", "", values)
            for name, table in tables.items():
                last = min(values["last"], spans.get(name, num_drafts))
                if first < last:
                    path = folder / f"{name}-{number:05d}.parquet"
                    _write(con, name, table, values | {"last": last}, path)
                    shards[name].append(path)
    return Rows(shards)


def find_rows(folder: Path) -> Rows:
    """Find the rows that `make_rows` wrote into `folder`."""
    return Rows({name: sorted(folder.glob(f"{name}-*.parquet")) for name in FILTERED | TRACED})


def _write(con: DuckDBPyConnection, name: str, table: str, values: dict[str, int], path: Path) -> None:
    """Write one shard, with every column of its table."""
    _run(con, name, f"INSERT INTO {table} BY NAME ", values)
    con.execute(f"COPY (SELECT * EXCLUDE artefact FROM {table}) TO {write_literal(str(path))} (FORMAT parquet)")
    con.execute(f"DELETE FROM {table}")


def _run(con: DuckDBPyConnection, name: str, before: str, values: dict[str, int]) -> None:
    text = read_sql(FOLDER, name)
    con.execute(before + text, {key: values[key] for key in list_parameters(text)})
