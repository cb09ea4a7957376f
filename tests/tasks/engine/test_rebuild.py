"""A warehouse that cannot be read is set aside and comes back from the store, row by row."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from tasks.engine.context import Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.rebuild import find_history, mend_warehouse
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from warehouse.connection import open_warehouse
from warehouse.evaluations import KEYS, record_evaluation
from warehouse.history import keep_runs
from warehouse.records import finish_run, record_run
from warehouse.schemas import make_schema

OWN_TABLES = {"migration", "condition"}  # made when a warehouse is opened, and when a run begins


@dataclass(frozen=True, kw_only=True)
class Size:
    rows: int


def read_all(database: Path) -> dict[str, list[tuple]]:
    """Return the rows of every table in order."""
    with duckdb.connect(str(database), read_only=True) as con:
        tables = [name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {name: con.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in tables}


def name_row(num_rows: int, number: int) -> str:
    """Return a name that nothing compresses, so that it can be found in the file."""
    return hashlib.sha256(f"{num_rows}-{number}".encode()).hexdigest()


def make_rows(run: RunRef, num_rows: int) -> None:
    def make(partial: Partial) -> None:
        names = [name_row(num_rows, number) for number in range(num_rows)]
        partial.write_shard("part-00000", pa.table({"sample_id": names}, schema=make_schema("sample")))

    run_stage(run, Stage(name="samples", version="1", table="sample"), Size(rows=num_rows), {}, make)


def make_page(run: RunRef) -> None:
    def make(partial: Partial) -> None:
        with partial.open_file("page.html") as path:
            path.write_text("<p>")

    run_stage(run, Stage(name="report", version="1"), Size(rows=0), {}, make)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_context: Callable[..., Context]) -> RunRef:
    """Make a store and a warehouse of one finished run with an evaluation."""
    run = RunRef(run_id="run-1", recipe_name="r", context=make_context(tmp_path_factory.mktemp("made")))
    with open_warehouse(run.context.warehouse) as con:
        record_run(
            con, {"run_id": run.run_id, "flow": "f", "recipe_name": "r", "recipe": {"k": 1}, "flow_run_id": None}
        )
    make_rows(run, 2000)
    make_rows(run, 8)
    make_page(run)
    with open_warehouse(run.context.warehouse) as con:
        record_evaluation(con, dict.fromkeys(KEYS, "x") | {"run_id": run.run_id})
        finish_run(con, run.run_id, status="failed", error="no “space” left")
        keep_runs(con, find_history(run.context), ended=run.run_id)
    return run


@pytest.fixture
def run(made: RunRef, tmp_path: Path) -> RunRef:
    """Return the run with a store and a warehouse of its own."""
    context = replace(made.context, store=tmp_path / "store", warehouse=tmp_path / "warehouse.duckdb")
    shutil.copytree(made.context.store, context.store)
    shutil.copy(made.context.warehouse, context.warehouse)
    return replace(made, context=context)


def flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 3],
        lambda content: content[: len(content) * 2 // 3],
        lambda content: content[:100],
        lambda content: b"",
        lambda content: bytes(len(content)),
        lambda content: os.urandom(len(content)),
        lambda content: flip(content, 12),  # in the version of the format
        lambda content: flip(content, content.index(name_row(2000, 7).encode())),  # in the rows
    ],
    ids=["a third", "two thirds", "part of the header", "empty", "zeros", "garbage", "version", "a bit of the rows"],
)
def test_an_unreadable_warehouse_is_set_aside_and_comes_back_with_every_row(
    made: RunRef, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    context = replace(made.context, warehouse=tmp_path / "warehouse.duckdb")
    damaged = damage(made.context.warehouse.read_bytes())
    context.warehouse.write_bytes(damaged)
    said = mend_warehouse(context)
    [aside] = tmp_path.glob("warehouse.unreadable-*.duckdb")
    assert aside.read_bytes() == damaged
    assert said is not None and aside.name in said and "3 results and the history of 1 runs. " in said
    before, now = read_all(made.context.warehouse), read_all(context.warehouse)
    assert [len(before[name]) for name in ("sample", "run", "run_stage", "stage", "evaluation")] == [2008, 1, 3, 2, 1]
    for table in before.keys() - OWN_TABLES:
        assert now[table] == before[table], table


def test_a_warehouse_that_is_lost_comes_back_with_every_row(made: RunRef, tmp_path: Path) -> None:
    before = read_all(made.context.warehouse)
    lost = replace(made.context, warehouse=tmp_path / "new" / "warehouse.duckdb")
    said = str(mend_warehouse(lost))
    assert "there was no warehouse at" in said and "3 results and the history of 1 runs" in said
    after = read_all(lost.warehouse)
    assert {name: rows for name, rows in after.items() if name not in OWN_TABLES} == {
        name: rows for name, rows in before.items() if name not in OWN_TABLES
    }
    assert mend_warehouse(lost) is None


def test_an_empty_store_needs_no_warehouse_yet(tmp_path: Path, make_context: Callable[..., Context]) -> None:
    empty = make_context(tmp_path)
    assert mend_warehouse(empty) is None
    assert not empty.warehouse.exists()


def test_a_rebuilding_that_was_ended_is_begun_again(made: RunRef, tmp_path: Path) -> None:
    lost = replace(made.context, warehouse=tmp_path / "warehouse.duckdb")
    (tmp_path / "warehouse.unfinished.duckdb").write_bytes(b"half of a warehouse")
    assert "3 results" in str(mend_warehouse(lost))
    assert not (tmp_path / "warehouse.unfinished.duckdb").exists()


def test_a_warehouse_that_can_be_read_is_left_as_it_is(run: RunRef) -> None:
    before = run.context.warehouse.read_bytes()
    assert mend_warehouse(run.context) is None
    assert run.context.warehouse.read_bytes() == before


def test_a_result_that_cannot_be_loaded_is_left_to_the_run_that_uses_it(run: RunRef) -> None:
    before = read_all(run.context.warehouse)
    [shard] = [path for path in run.context.store.glob("samples/*/part-00000.parquet") if path.stat().st_size < 5000]
    shard.write_bytes(shard.read_bytes()[:-1])
    run.context.warehouse.write_bytes(b"")
    said = mend_warehouse(run.context)
    assert said is not None and "2 results and the history of 1 runs; 1 more come back when a run uses them" in said
    make_rows(run, 8)
    assert read_all(run.context.warehouse)["sample"] == before["sample"]


def test_what_is_no_file_is_not_taken_for_a_damaged_warehouse(run: RunRef) -> None:
    run.context.warehouse.unlink()
    run.context.warehouse.mkdir()
    with pytest.raises(IsADirectoryError):
        mend_warehouse(run.context)
    assert run.context.warehouse.is_dir()
