"""Compares two versions of an artefact row by row: which rows differ, in which columns, and which are on one side only.

Reads Parquet shards. Owns the columns that identify a row of each table. Independent of how an artefact was made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from warehouse.content import RECORD, UNFINISHED, UNSTABLE_COLUMNS, hash_content, hash_file
from warehouse.schemas import list_row_tables, make_schema
from warehouse.sql import write_literal, write_name

# These describe their own run, so they are never the same twice: a report, which is named by its run, a card, which has
# the run's seconds, and the times of the files that items were made from.
STAGES_OF_A_RUN = frozenset({"report"})
FILES_OF_A_RUN = frozenset({RECORD, "README.md", "sources.npy"})
ROWS_OF = b"comem.rows_of"
KEYS = {
    "knowledge_item": ("item_id",),
    "dropped_row": ("file", "row", "reason"),
    "corpus_file": ("file", "reason"),
    "question": ("question_id",),
    "retrieval": ("question_id",),
    "draft": ("sample_id",),
    "verdict": ("sample_id",),
    "drop": ("sample_id", "reason"),
    "sample": ("sample_id",),
    "training_step": ("step",),
    "bank_entry": ("item_id",),
    "prediction": ("prediction_id",),
    "score": ("benchmark", "condition", "k", "split", "metric"),
    "mark": ("prediction_id", "metric"),
    "judgement": ("judge_key",),
    "agreement": ("benchmark", "condition", "k", "first", "second"),
    "difference": ("benchmark", "metric", "first", "second", "k", "split"),
    "missing_question": ("question_id", "reason", "row"),
    "contamination": ("question_id", "source", "kind"),
    "gate": ("k", "fold"),
    "tried_k": ("k",),
    "tried_search": ("search", "language", "k"),
}
LEFT, RIGHT, BOTH = "left only", "right only", "differs"


@dataclass(frozen=True)
class DifferingRow:
    """A row that differs between the sides; `columns` are the differing ones if both sides have the row."""

    key: tuple[object, ...]
    kind: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableComparison:
    """The result of comparing the rows of one table."""

    table: str
    num_left: int
    num_right: int
    differences: tuple[DifferingRow, ...]

    @property
    def num_equal(self) -> int:
        return self.num_left - sum(each.kind != RIGHT for each in self.differences)

    def columns(self) -> dict[str, int]:
        """Count the rows that differ in each column, largest count first."""
        return dict(Counter(name for each in self.differences for name in each.columns).most_common())

    def __str__(self) -> str:
        kinds = Counter(each.kind for each in self.differences)
        said = ", ".join(f"{kinds[kind]} {kind}" for kind in (BOTH, LEFT, RIGHT) if kinds[kind])
        columns = ", ".join(f"{name} in {count}" for name, count in self.columns().items())
        said = said + (f" ({columns})" if columns else "")
        return f"{self.table}: {self.num_left} and {self.num_right} rows, {self.num_equal} equal" + (
            f", {said}" if said else ""
        )


@dataclass(frozen=True)
class Rebuilt:
    """One artefact that was made again; `known` if it was there before; `files` are differing files besides shards."""

    stage: str
    fingerprint: str
    known: bool
    tables: tuple[TableComparison, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        return self.known and not self.files and not any(table.differences for table in self.tables)


def compare_rows(
    table: str, left: Sequence[Path], right: Sequence[Path], *, ignore: Collection[str] = UNSTABLE_COLUMNS
) -> TableComparison:
    """Compare the rows of `table` in two sets of shards, paired by the key of a row (KEYS), in any order.

    `ignore` lists columns that may differ, by default those that change with the machine. A column that one side lacks
    differs in every row that has a value there.
    """
    with duckdb.connect() as con:
        columns = [name for name in _open(con, left, right) if name not in ignore and name not in KEYS[table]]
        keys = ", ".join(f'"{name}"' for name in KEYS[table])
        content = ", ".join(map(write_name, (*KEYS[table], *columns)))
        for side in ("left_rows", "right_rows"):
            twin = f"row_number() OVER (PARTITION BY {keys} ORDER BY hash({content})) AS twin"
            con.execute(f"CREATE TEMP VIEW numbered_{side} AS SELECT *, {twin} FROM {side}")
        counts = [con.execute(f"SELECT count(*) FROM {side}").fetchall()[0][0] for side in ("left_rows", "right_rows")]
        found = con.execute(_write_query(KEYS[table], columns)).fetchall()
    size = len(KEYS[table])
    rows = (DifferingRow(tuple(row[:size]), row[size], tuple(row[size + 1])) for row in found)
    return TableComparison(table, counts[0], counts[1], tuple(rows))


def compare_folders(left: Path, right: Path, *, ignore: Collection[str] = UNSTABLE_COLUMNS) -> list[TableComparison]:
    """Compare two artefacts' folders, table by table; ValueError if one lacks a table of the other."""
    sides = [_group_by_table(left), _group_by_table(right)]
    for here, there, folder in ((*sides, right), (*sides[::-1], left)):
        if lost := sorted(here.keys() - there.keys()):
            raise ValueError(
                f"{folder} has no rows of {', '.join(lost)}, but the other side has. Are both of the same stage?"
            )
    return [compare_rows(table, sides[0][table], sides[1][table], ignore=ignore) for table in sorted(sides[0])]


def compare_stores(left: Path, right: Path) -> Iterator[Rebuilt]:
    """Compare every complete artefact of the store `right` with the one of the same name in `left`, stage by stage.

    Files that describe their own run are left out.
    """
    for record in sorted(right.glob(f"*/*/{RECORD}")):
        folder = record.parent
        if folder.suffix == UNFINISHED:
            continue
        stage, fingerprint = folder.parts[-2:]
        known = left / stage / fingerprint
        if not (known / RECORD).is_file():
            yield Rebuilt(stage, fingerprint, known=False)
            continue
        holds_rows = any(_find_table(path) for path in folder.glob("*.parquet"))
        tables = compare_folders(known, folder) if holds_rows else []
        yield Rebuilt(
            stage, fingerprint, known=True, tables=tuple(tables), files=tuple(_list_other_files(known, folder))
        )


def _list_other_files(left: Path, right: Path) -> list[str]:
    """List the files that differ or are on one side only, without shards of a table, files about their own run, and
    hidden ones, which a run that was ended left."""
    names = {path.relative_to(side).as_posix() for side in (left, right) for path in side.rglob("*") if path.is_file()}
    shared = sorted(name for name in names - FILES_OF_A_RUN if not name.startswith("."))
    others = [name for name in shared if not any(_is_of_table(side / name) for side in (left, right))]
    rows = [name for name in others if name.endswith(".parquet")]
    words = dict.fromkeys(_name_group(name) for name in rows)
    differing = [name for name in others if name not in rows and not _are_same(left / name, right / name)]
    return differing + [word for word in words if len({_hash_group(side, word, rows) for side in (left, right)}) > 1]


def _name_group(shard: str) -> str:
    """Name the shards that hold rows of one kind: rows may be divided among them in any way, and in any order."""
    return re.sub(r"-[^/]*\.parquet$", "-*.parquet", shard)


def _hash_group(folder: Path, group: str, shards: Sequence[str]) -> str:
    return hash_content(folder, [name for name in shards if _name_group(name) == group and (folder / name).is_file()])


def _is_of_table(path: Path) -> bool:
    return path.suffix == ".parquet" and path.is_file() and _find_table(path) is not None


def _are_same(left: Path, right: Path) -> bool:
    return _hash_if_file(left) == _hash_if_file(right)


def _hash_if_file(path: Path) -> str | None:
    return hash_file(path) if path.is_file() else None


def _group_by_table(folder: Path) -> dict[str, list[Path]]:
    """Group the shards of a folder by table; shards without a table, such as a training set's, are left out."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.parquet")):
        if table := _find_table(path):
            found.setdefault(table, []).append(path)
    if not found:
        raise ValueError(f"{folder} has no shard with rows of a table; expected the folder of an artefact")
    return found


def _find_table(path: Path) -> str | None:
    schema = pq.read_schema(path)
    if said := (schema.metadata or {}).get(ROWS_OF):
        return said.decode()
    fitting = [table for table in list_row_tables() if set(make_schema(table).names) <= set(schema.names)]
    return max(fitting, key=lambda table: len(make_schema(table).names), default=None)


def _open(con: DuckDBPyConnection, left: Sequence[Path], right: Sequence[Path]) -> list[str]:
    """Open both sides with the same columns (nulls for a missing one), and return the columns."""
    described = {}
    for side, paths in (("left", left), ("right", right)):
        listed = write_literal([str(path) for path in paths])
        con.execute(f"CREATE TEMP VIEW {side}_shards AS SELECT * FROM read_parquet({listed}, union_by_name = true)")
        described[side] = [row[0] for row in con.execute(f"DESCRIBE {side}_shards").fetchall()]
    columns = list(dict.fromkeys(described["left"] + described["right"]))
    for side, has in described.items():
        listed = ", ".join(write_name(name) if name in has else f"NULL AS {write_name(name)}" for name in columns)
        con.execute(f"CREATE TEMP VIEW {side}_rows AS SELECT {listed} FROM {side}_shards")
    return columns


def _write_query(keys: Sequence[str], columns: Sequence[str]) -> str:
    """Write the query that pairs rows by key and finds differences; rows of one key are paired in order of content."""
    same = " AND ".join(f'l."{name}" IS NOT DISTINCT FROM r."{name}"' for name in (*keys, "twin"))
    named = ", ".join(f'coalesce(l."{name}", r."{name}") AS "{name}"' for name in keys)
    changed = ", ".join(
        f"CASE WHEN l.{write_name(name)} IS DISTINCT FROM r.{write_name(name)} THEN {write_literal(name)} END"
        for name in columns
    )
    ordered = ", ".join(f'"{name}"' for name in keys)
    return f"""
        SELECT {", ".join(f'"{name}"' for name in keys)}, found_in, found_columns
        FROM (
            SELECT
                {named},
                CASE WHEN r.twin IS NULL THEN '{LEFT}' WHEN l.twin IS NULL THEN '{RIGHT}' ELSE '{BOTH}' END AS found_in,
                CASE WHEN l.twin IS NULL OR r.twin IS NULL THEN []::VARCHAR[]
                    ELSE list_filter([{changed or "NULL::VARCHAR"}], lambda name: name IS NOT NULL) END AS found_columns
            FROM numbered_left_rows AS l
            FULL JOIN numbered_right_rows AS r ON {same}
        )
        WHERE found_in <> '{BOTH}' OR len(found_columns) > 0
        ORDER BY {ordered}, found_in
    """
