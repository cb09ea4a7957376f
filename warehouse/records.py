"""Writes artefacts with their rows, and runs with their stages, into the warehouse, and finds them again.

Owns the tables artefact, artefact_input, run, run_stage, and the loading of shards into the row tables. Every
function is one transaction. Independent of how an artefact was made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from warehouse.connection import open_transaction
from warehouse.content import hash_file
from warehouse.schemas import ARTEFACT_COLUMN, ITEM_LINKS, list_row_tables, make_schema

_ARTEFACT_KEYS = [
    "fingerprint", "stage", "version", "recipe", "inputs", "num_rows", "num_bytes", "shards", "content_sha256",
    "seconds", "measured", "commit", "created",
]  # fmt: skip
_STAGE_KEYS = ["stage", "fingerprint", "action", "reason", "seconds"]
# Rows are loaded in the order of the column that lineage looks up. DuckDB keeps the smallest and largest value of every
# few thousand rows, so it finds one id among millions in a millisecond, without an index.
_ORDER = {
    "knowledge_item": "item_id",
    "question": "question_id",
    "retrieval": "question_id",
    "draft": "sample_id",
    "verdict": "sample_id",
    "drop": "sample_id",
    "sample": "sample_id",
    "training_step": "step",
    "bank_entry": "item_id",
    "prediction": "prediction_id",
    "mark": "prediction_id",
    "judgement": "judge_key",
    "contamination": "question_id",
}
# DuckDB's memory limit at the first try to load rows: enough to sort millions of short rows.
_LOADING_MEMORY = "128 MiB"
_OUT_OF_MEMORY = (duckdb.OutOfMemoryException, duckdb.TransactionException)  # the second if it happens at the commit
_RUN_KEYS = ["run_id", "flow", "recipe_name", "recipe", "flow_run_id"]


def register_artefact(
    con: DuckDBPyConnection,
    record: Mapping,
    *,
    table: str | None,
    folder: str | Path,
    uri: str | None = None,
    replace: bool = False,
    hashed: bool = False,
) -> int:
    """Check every shard, then insert the artefact, its inputs and the rows of its Parquet shards; return its num_rows.

    `table` is the table of the rows (None: the artefact has no rows, such as an encoder); a shard may name another one
    with its own key "table" (such as the rows that an ingest dropped, beside the items). Registering twice is a no-op.
    ValueError names a shard that is missing or changed, and refuses different content under a known fingerprint unless
    `replace`.

    `hashed` means that the caller has just hashed every shard. Then only sizes are compared, so that no process waits
    for the warehouse while gigabytes are read again.

    `uri` is the address of an artefact of which the folder is a copy, where only files with rows need to be.
    """
    _check_record(record)
    folder, is_copy = Path(folder), "://" in (uri or "")
    shards = [each for each in record["shards"] if not is_copy or each["file"].endswith(".parquet")]
    verify_shards({**record, "shards": shards}, folder, hashed=hashed)
    fingerprint, uri = record["fingerprint"], str(uri if is_copy else folder.absolute())
    known = find_artefact(con, fingerprint)
    equal = known is not None and known["content_sha256"] == record["content_sha256"]
    if known and not equal and not replace:
        raise ValueError(
            f"{record['stage']} {fingerprint} is registered with different content, from {known['uri']}: results made"
            " from it would no longer match. Raise the stage's version, or register with replace=True"
        )
    if known and equal and known["shards"] == list(record["shards"]) and known["uri"] == uri:
        return known["num_rows"]

    def load(in_order: bool) -> None:
        with open_transaction(con):
            if not equal:
                _forget_rows(con, fingerprint)
                _load_rows(con, record, table, folder, in_order=in_order)
            _upsert_artefact(con, record, uri)

    _load_with_little_memory(con, load)
    return record["num_rows"]


def _load_with_little_memory(con: DuckDBPyConnection, load: Callable[[bool], None]) -> None:
    """Load rows in order with little memory; if it is too little, with all memory allowed; else in any order.

    DuckDB sorts some hundred thousand rows at a time in memory, however long they are. The order only makes look-ups
    quick; an artefact of such long rows has few enough rows to be scanned.
    """
    [(allowed,)] = con.execute("SELECT current_setting('memory_limit')").fetchall()
    try:
        for limit in sorted({_LOADING_MEMORY, allowed}, key=_parse_size):
            if _parse_size(limit) <= _parse_size(allowed):
                with suppress(*_OUT_OF_MEMORY):
                    con.execute(f"SET memory_limit = '{limit}'")
                    return load(True)
        load(False)
    finally:
        con.execute(f"SET memory_limit = '{allowed}'")


def _parse_size(size: str) -> float:
    """Read a size as DuckDB writes it, such as `953.6 MiB`."""
    number, unit = size.split()
    return float(number) * 1024 ** ["bytes", "KiB", "MiB", "GiB", "TiB"].index(unit)


def verify_shards(record: Mapping, folder: str | Path, *, hashed: bool = False) -> None:
    """Hash every shard (compare only sizes if `hashed`); ValueError names each one that is missing or changed."""
    if faults := list_shard_faults(record["shards"], Path(folder), hashed=hashed):
        raise ValueError(f"{record['stage']} {record['fingerprint']} in {folder}: {'; '.join(faults)}")


def list_shard_faults(shards: list[dict], folder: Path, *, hashed: bool = False) -> list[str]:
    """List the faults of damaged shards; the list is empty if no shard has changed."""
    faults = []
    for shard in shards:
        path = folder / shard["file"]
        if not path.is_file():
            faults.append(f"shard {shard['file']} is missing")
        elif hashed:
            if (size := path.stat().st_size) != shard["bytes"]:
                faults.append(f"shard {shard['file']} has changed: {size} bytes, recorded {shard['bytes']}")
        elif (found := hash_file(path)) != shard["sha256"]:
            faults.append(f"shard {shard['file']} has changed: sha256 {found[:12]}…, recorded {shard['sha256'][:12]}…")
    return faults


def find_artefact(con: DuckDBPyConnection, fingerprint: str) -> dict | None:
    """Return the record of an artefact, with its `uri` and `inputs`, or None."""
    cursor = con.execute("SELECT * FROM artefact WHERE fingerprint = ?", [fingerprint])
    columns = [column[0] for column in cursor.description or []]
    row = cursor.fetchone()
    if row is None:
        return None
    record = dict(zip(columns, row, strict=True))
    inputs = con.execute("SELECT role, input_fingerprint FROM artefact_input WHERE fingerprint = ?", [fingerprint])
    record["inputs"] = dict(inputs.fetchall())
    record["recipe"] = None if record["recipe"] is None else json.loads(record["recipe"])
    record["shards"] = json.loads(record["shards"])
    record["measured"] = json.loads(record["measured"] or "{}")
    record["libraries"] = json.loads(record["libraries"] or "{}")
    return record


def forget_artefact(con: DuckDBPyConnection, fingerprint: str) -> None:
    """Delete an artefact and its rows; the runs that used it keep their own rows."""
    with open_transaction(con):
        _forget_rows(con, fingerprint)
        con.execute("DELETE FROM artefact WHERE fingerprint = ?", [fingerprint])


def record_run(con: DuckDBPyConnection, run: Mapping) -> None:
    """Record that a run started: run_id, flow, recipe_name, recipe, flow_run_id. A restarted run keeps its row."""
    _check_keys("run", run, _RUN_KEYS)
    with open_transaction(con):
        con.execute(
            """
            INSERT INTO run (run_id, flow, recipe_name, recipe, flow_run_id, status, started)
            VALUES (?, ?, ?, ?, ?, 'running', ?)
            ON CONFLICT (run_id) DO UPDATE
            SET status = 'running', ended = NULL, error = NULL, flow_run_id = excluded.flow_run_id
            """,
            [run["run_id"], run["flow"], run["recipe_name"], _json(run["recipe"]), run["flow_run_id"], _now()],
        )


def finish_run(con: DuckDBPyConnection, run_id: str, *, status: str, error: str | None = None) -> None:
    """Record how a run ended ('completed', 'failed', 'cancelled'); an unknown run_id is a ValueError."""
    with open_transaction(con):
        changed = con.execute(
            "UPDATE run SET status = ?, error = ?, ended = ? WHERE run_id = ? RETURNING run_id",
            [status, error, _now(), run_id],
        ).fetchall()
        if not changed:
            raise ValueError(f"no run {run_id!r} was recorded, so it cannot be finished")


def record_stage(con: DuckDBPyConnection, run_id: str, stage: Mapping) -> None:
    """Record what a run did with an artefact: stage, fingerprint, action, reason, seconds.

    `action` is made, continued, reused or failed. Recording it again replaces the row.
    """
    _check_keys("stage", stage, _STAGE_KEYS)
    with open_transaction(con):
        columns = ", ".join(_STAGE_KEYS)
        con.execute(
            f"INSERT OR REPLACE INTO run_stage (run_id, {columns}, finished) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [run_id, *(stage[key] for key in _STAGE_KEYS), _now()],
        )


def _check_record(record: Mapping) -> None:
    _check_keys("record", record, _ARTEFACT_KEYS)
    for shard in record["shards"]:
        if missing := {"file", "sha256", "bytes", "rows"} - shard.keys():
            raise ValueError(f"a shard of {record['fingerprint']} lacks {', '.join(sorted(missing))}: {shard}")


def _check_keys(name: str, given: Mapping, keys: list[str]) -> None:
    if missing := [key for key in keys if key not in given]:
        raise ValueError(f"the {name} lacks {', '.join(missing)}; it has {', '.join(map(str, given))}")


def _forget_rows(con: DuckDBPyConnection, fingerprint: str) -> None:
    """Delete the rows and inputs of an artefact, in the caller's transaction."""
    for table in (*list_row_tables(), *ITEM_LINKS.values()):
        con.execute(f"DELETE FROM {table} WHERE {ARTEFACT_COLUMN} = ?", [fingerprint])
    con.execute("DELETE FROM artefact_input WHERE fingerprint = ?", [fingerprint])


def _upsert_artefact(con: DuckDBPyConnection, record: Mapping, uri: str) -> None:
    """Insert the artefact's own row and its inputs, or replace them."""
    plain = {key: _json(record.get(key)) for key in ("recipe", "shards", "measured", "libraries")}
    values = dict(record) | plain | {"uri": uri}
    columns = [key for key in (*_ARTEFACT_KEYS, "libraries", "uri") if key != "inputs"]
    con.execute(
        f"INSERT OR REPLACE INTO artefact ({', '.join(columns)}) VALUES ({', '.join('?' for _ in columns)})",
        [values[column] for column in columns],
    )
    for role, fingerprint in record["inputs"].items():
        con.execute("INSERT OR IGNORE INTO artefact_input VALUES (?, ?, ?)", [record["fingerprint"], role, fingerprint])


def _load_rows(con: DuckDBPyConnection, record: Mapping, table: str | None, folder: Path, *, in_order: bool) -> None:
    """Insert the rows of the Parquet shards, table by table, with the columns that each table has."""
    for target, listed in group_shards(record, table).items():
        for shard in listed:
            _check_shard(record["fingerprint"], shard, target, folder)
        columns = ", ".join(f'"{name}"' for name in make_schema(target).names)
        order = f"ORDER BY {_ORDER[target]}" if target in _ORDER and in_order else ""
        con.execute(
            f"INSERT INTO {target} ({ARTEFACT_COLUMN}, {columns}) SELECT ?, {columns} FROM read_parquet(?) {order}",
            [record["fingerprint"], [str(folder / shard["file"]) for shard in listed]],
        )
        if target in ITEM_LINKS:
            _link_items(con, record["fingerprint"], target)


def group_shards(record: Mapping, table: str | None) -> dict[str, list[Mapping]]:
    """Group the Parquet shards of a record by the table of their rows; `table` is that of shards that name none."""
    shards: dict[str, list[Mapping]] = {}
    for shard in record["shards"]:
        target = shard.get("table", table)
        if target is not None and shard["file"].endswith(".parquet"):
            shards.setdefault(target, []).append(shard)
    return shards


def _check_shard(fingerprint: str, shard: Mapping, target: str, folder: Path) -> None:
    """Refuse a shard that lacks a column of its table, or whose number of rows differs from its record."""
    path = folder / shard["file"]
    # The schema is read separately: the metadata and its own schema refer to each other, which keeps megabytes alive.
    names, num_rows = pq.read_schema(path).names, pq.read_metadata(path).num_rows
    if missing := [name for name in make_schema(target).names if name not in names]:
        raise ValueError(f"shard {shard['file']} of {fingerprint} lacks {', '.join(missing)}, columns of {target}")
    if num_rows != shard["rows"]:
        raise ValueError(f"shard {shard['file']} of {fingerprint} has {num_rows} rows; its record says {shard['rows']}")


def _link_items(con: DuckDBPyConnection, fingerprint: str, table: str) -> None:
    """Record which items each row of an artefact was shown."""
    links, key = ITEM_LINKS[table], _ORDER[table]
    con.execute(
        f"""
        INSERT INTO {links} ({ARTEFACT_COLUMN}, item_id, {key}, place)
        SELECT {ARTEFACT_COLUMN}, unnest(item_ids) AS item_id, {key}, generate_subscripts(item_ids, 1)
        FROM {table}
        WHERE {ARTEFACT_COLUMN} = ?
        ORDER BY item_id
        """,
        [fingerprint],
    )


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _now() -> datetime:
    return datetime.now(UTC)
