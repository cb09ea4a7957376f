"""Measures how long lineage lookups take in a large warehouse: what a row was made from, and what used it.

Owns the warehouse that is asked (made from the rows of million_rows) and the choice of ids; warehouse.lineage answers.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from warehouse.connection import open_warehouse
from warehouse.content import hash_file
from warehouse.lineage import find_kind, trace_downward, trace_draft, trace_item, trace_prediction, trace_upward
from warehouse.measures.million_rows import Rows, set_all_filters
from warehouse.records import register_artefact
from warehouse.samples.filtering import list_kept_samples, run_filters

NUM_ASKED = 20
LIMIT = 20  # rows of each kind, as many as the command line prints
MADE_FROM = {
    "knowledge": (),
    "questions": ("knowledge",),
    "retrieval": ("knowledge", "questions"),
    "drafts": ("knowledge", "questions", "retrieval"),
    "verdicts": ("drafts", "questions"),
    "samples": ("drafts", "verdicts", "questions"),
    "encoder": ("samples", "knowledge"),
    "bank": ("encoder", "knowledge"),
    "benchmark": (),
    "predictions": ("bank", "encoder", "benchmark"),
}


def make_warehouse(folder: Path, rows: Rows, num_drafts: int) -> tuple[Path, float]:
    """Load one large run, whose shards are in `folder`, into a warehouse; return its file and the seconds it took."""
    drops = run_filters(**rows.list_sources(), parameters=set_all_filters(num_drafts))
    kept = list_kept_samples(drafts=rows.shards["draft"], drops=drops)
    shards = _map_stages(
        rows, _write_table(folder / "sample.parquet", kept), _write_table(folder / "drop.parquet", drops)
    )
    database, seconds = folder / "warehouse.duckdb", 0.0
    for stage, inputs in MADE_FROM.items():
        record = _make_record(stage, inputs, shards.get(stage, {}))
        started = time.perf_counter()
        with open_warehouse(database) as con:
            register_artefact(con, record, table=None, folder=folder)
        seconds += time.perf_counter() - started
    return database, seconds


def measure_lookup_milliseconds(database: Path) -> dict[str, float]:
    """Return the median time of a lookup (milliseconds) by kind, over ids spread over the warehouse."""
    asked: dict[str, tuple[Callable[..., object], str]] = {
        "draft": (trace_draft, "SELECT sample_id FROM draft"),
        "item": (trace_item, "SELECT item_id FROM knowledge_item"),
        "prediction": (trace_prediction, "SELECT prediction_id FROM prediction"),
        "kind": (_find_kind_only, "SELECT sample_id FROM draft"),
        "artefact up": (_without_limit(trace_upward), "SELECT 'predictions'"),
        "artefact down": (_without_limit(trace_downward), "SELECT 'knowledge'"),
    }
    with open_warehouse(database, read_only=True) as con:
        return {kind: _measure_median(con, lookup, ids) for kind, (lookup, ids) in asked.items()}


def _measure_median(con: DuckDBPyConnection, lookup: Callable[..., object], ids: str) -> float:
    chosen = con.execute(f"SELECT * FROM ({ids}) AS ids (id) ORDER BY md5(id) LIMIT {NUM_ASKED}").fetchall()
    times = []
    for (identifier,) in chosen:
        started = time.perf_counter()
        lookup(con, identifier, limit=LIMIT)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _find_kind_only(con: DuckDBPyConnection, identifier: str, *, limit: int) -> str:
    return find_kind(con, identifier)


def _without_limit(walk: Callable[..., object]) -> Callable[..., object]:
    return lambda con, identifier, limit: walk(con, identifier)


def _write_table(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


def _map_stages(rows: Rows, sample: Path, drop: Path) -> dict[str, dict[str, Sequence[Path]]]:
    """Map each stage to its shards, by their table."""
    held = rows.shards
    return {
        "knowledge": {"knowledge_item": held["item"]},
        "questions": {"question": held["question"]},
        "retrieval": {"retrieval": held["retrieval"]},
        "drafts": {"draft": held["draft"]},
        "verdicts": {"verdict": held["verdict"]},
        "samples": {"sample": [sample], "drop": [drop]},
        "bank": {"bank_entry": held["bank_entry"]},
        "benchmark": {"question": held["benchmark"]},
        "predictions": {"prediction": held["prediction"]},
    }


def _make_record(stage: str, inputs: Sequence[str], shards: Mapping[str, Sequence[Path]]) -> dict:
    listed = [
        {
            "file": path.name,
            "sha256": hash_file(path),
            "bytes": path.stat().st_size,
            "rows": pq.read_metadata(path).num_rows,
            "table": table,
        }
        for table, paths in shards.items()
        for path in paths
    ]
    return {
        "fingerprint": stage,
        "stage": stage,
        "version": "1",
        "recipe": {},
        "inputs": {name.removesuffix("s"): name for name in inputs},
        "num_rows": sum(shard["rows"] for shard in listed),
        "num_bytes": sum(shard["bytes"] for shard in listed),
        "shards": listed,
        "content_sha256": stage,
        "seconds": None,
        "measured": {},
        "commit": None,
        "created": None,
    }
