"""What the warehouse knows of runs and no artefact holds, as one JSON file for each run beside the artefacts.

A warehouse is rebuilt from these files and from the records of the artefacts.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.connection import open_transaction

# The tables that only runs fill, with the rows that belong to one run.
ROWS_OF_RUN = {
    "run": "run_id = $run_id",
    "run_stage": "run_id = $run_id",
    "evaluation": "run_id = $run_id",
    "stage": "name IN (SELECT stage FROM run_stage WHERE run_id = $run_id)",
}

KILLED = "its process was killed; the same run goes on from what it finished"


def keep_runs(con: DuckDBPyConnection, folder: Path, *, ended: str) -> None:
    """Write the file of the run that has just ended, and those of runs that have none, such as killed ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for (run_id,) in con.execute("SELECT run_id FROM run").fetchall():
        path = folder / f"{run_id}.json"
        if run_id == ended or not path.exists():
            rows = {table: _read_rows(con, table, run_id) for table in ROWS_OF_RUN}
            unfinished = path.with_suffix(".tmp")  # only the writer of the warehouse is here
            unfinished.write_text(json.dumps(rows, ensure_ascii=False, default=str), encoding="utf-8")
            unfinished.replace(path)


def finish_killed(con: DuckDBPyConnection, run_ids: Collection[str]) -> None:
    """Record that runs were killed, if they have no end yet; unknown ones are left out."""
    ended = "UPDATE run SET status = 'failed', error = ?, ended = ?"
    with open_transaction(con):
        con.execute(
            f"{ended} WHERE status = 'running' AND list_contains(?, run_id)",
            [KILLED, datetime.now(UTC), list(run_ids)],
        )


def restore_runs(con: DuckDBPyConnection, folder: Path) -> int:
    """Insert the rows of all files in a new warehouse, oldest file first; return the number of runs.

    Raises ValueError for a file with a table or a column that the warehouse does not have for runs.
    """
    paths = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    with open_transaction(con):
        for path in paths:
            for table, rows in json.loads(path.read_text(encoding="utf-8")).items():
                known = _list_columns(con, table) if table in ROWS_OF_RUN else set()
                for row in rows:
                    if not row.keys() <= known:
                        raise ValueError(f"{path} has rows of {table!r} with columns that the warehouse does not have")
                    columns, marks = ", ".join(row), ", ".join("?" * len(row))
                    con.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})", [*row.values()])
    return len(paths)


def _list_columns(con: DuckDBPyConnection, table: str) -> set[str]:
    return {column[0] for column in con.execute(f"SELECT * FROM {table} LIMIT 0").description or []}


def _read_rows(con: DuckDBPyConnection, table: str, run_id: str) -> list[dict[str, Any]]:
    cursor = con.execute(f"SELECT * FROM {table} WHERE {ROWS_OF_RUN[table]}", {"run_id": run_id})
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
