"""Artefacts are registered once, whole, and only with unchanged shards; runs and stages can be told again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from duckdb import DuckDBPyConnection
from small_rows import items, questions
from small_world import RUN_ID, SmallWorld, start, write_artefact

from warehouse.connection import open_warehouse
from warehouse.content import hash_content, hash_file
from warehouse.records import find_artefact, finish_run, record_run, record_stage, register_artefact
from warehouse.schemas import make_blank_row
from warehouse.sql import read_report_rows
from warehouse.verification import verify_artefacts


@pytest.fixture
def fresh(tmp_path: Path) -> SmallWorld:
    return start(tmp_path)


@pytest.fixture
def writer(fresh: SmallWorld) -> Iterator[DuckDBPyConnection]:
    with open_warehouse(fresh.database) as con:
        yield con


def count(con: DuckDBPyConnection, table: str) -> int:
    return con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_artefact_is_found_with_its_rows_and_inputs(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {"source": "abc"})
    assert register_artefact(writer, record, table="knowledge_item", folder=folder) == 24
    found = find_artefact(writer, record["fingerprint"])
    assert found is not None
    assert {key: found[key] for key in ("stage", "inputs", "recipe", "shards", "num_rows")} == {
        key: record[key] for key in ("stage", "inputs", "recipe", "shards", "num_rows")
    }
    assert count(writer, "knowledge_item") == 24
    assert find_artefact(writer, "nothing") is None


def test_registering_twice_is_a_no_op(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {"source": "abc"})
    for _ in range(2):
        assert register_artefact(writer, record, table="knowledge_item", folder=folder) == 24
    assert [count(writer, table) for table in ("artefact", "artefact_input", "knowledge_item")] == [1, 1, 24]


def test_a_flipped_byte_is_refused_with_the_shard_named(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {})
    flip_a_byte(folder / "knowledge_item-00001.parquet")
    with pytest.raises(ValueError, match=r"shard knowledge_item-00001\.parquet has changed"):
        register_artefact(writer, record, table="knowledge_item", folder=folder)
    (folder / "knowledge_item-00000.parquet").unlink()
    with pytest.raises(ValueError, match=r"shard knowledge_item-00000\.parquet is missing"):
        register_artefact(writer, record, table="knowledge_item", folder=folder)
    assert count(writer, "artefact") == count(writer, "knowledge_item") == 0


def test_rows_are_loaded_in_order_of_their_id(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {})
    register_artefact(writer, record, table="knowledge_item", folder=folder)
    found = [item_id for (item_id,) in writer.execute("SELECT item_id FROM knowledge_item").fetchall()]
    assert found == sorted(found) != [row["item_id"] for row in items()]


@pytest.mark.slow
def test_rows_too_long_to_be_put_in_order_are_loaded_all_the_same(fresh: SmallWorld) -> None:
    long = [
        items()[0] | {"item_id": f"{-number % 12000:016x}", "text": f"{number:06} " * 1500} for number in range(12000)
    ]
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": long}, {})
    with open_warehouse(fresh.database, memory_limit="140MB") as con:
        allowed = con.execute("SELECT current_setting('memory_limit')").fetchall()
        assert register_artefact(con, record, table="knowledge_item", folder=folder) == 12000
        assert con.execute("SELECT count(DISTINCT text), min(length(text)) FROM knowledge_item").fetchall() == [
            (12000, 10500)
        ]
        assert con.execute("SELECT current_setting('memory_limit')").fetchall() == allowed


def test_an_artefact_that_fails_to_load_leaves_nothing(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {"source": "abc"})
    record["shards"][1]["rows"] += 1
    with pytest.raises(ValueError, match="has 12 rows; its record says 13"):
        register_artefact(writer, record, table="knowledge_item", folder=folder)
    assert [count(writer, table) for table in ("artefact", "artefact_input", "knowledge_item")] == [0, 0, 0]


def test_a_shard_that_was_just_hashed_is_still_refused_where_it_is_shorter_or_gone(
    fresh: SmallWorld, writer: DuckDBPyConnection
) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {"source": "abc"})
    first, second = (folder / shard["file"] for shard in record["shards"])
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    with pytest.raises(ValueError, match=r"has changed: \d+ bytes, recorded \d+; shard .* is missing"):
        register_artefact(writer, record, table="knowledge_item", folder=folder, hashed=True)
    assert count(writer, "knowledge_item") == 0


def test_extra_columns_of_a_shard_stay_on_disk_and_missing_ones_are_refused(
    fresh: SmallWorld, writer: DuckDBPyConnection
) -> None:
    record, folder = write_artefact(fresh, "ask", {"question": questions("test")[:5]}, {})
    path = folder / "question-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(
        table.append_column("image", pa.array([b"png"] * 5)).select(["image", *reversed(table.column_names)]), path
    )
    record["shards"][0]["sha256"] = hash_file(path)
    assert register_artefact(writer, record, table="question", folder=folder) == 5
    assert read_report_rows(writer, "kind_of", {"id": record["fingerprint"]}) == [{"kind": "artefact"}]
    pq.write_table(table.drop_columns(["split"]), path)
    record = record | {"fingerprint": "other", "shards": [record["shards"][0] | {"sha256": hash_file(path)}]}
    with pytest.raises(ValueError, match="lacks split, columns of question"):
        register_artefact(writer, record, table="question", folder=folder)


def test_other_content_under_a_known_fingerprint_is_refused_unless_it_replaces(
    fresh: SmallWorld, writer: DuckDBPyConnection
) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {"source": "abc"})
    register_artefact(writer, record, table="knowledge_item", folder=folder)
    shutil.rmtree(folder)
    other, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()[:20]}, {"source": "abc"})
    with pytest.raises(ValueError, match="registered with different content"):
        register_artefact(writer, other, table="knowledge_item", folder=folder)
    assert register_artefact(writer, other, table="knowledge_item", folder=folder, replace=True) == 20
    assert [count(writer, table) for table in ("artefact", "artefact_input", "knowledge_item")] == [1, 1, 20]


def test_the_same_content_in_other_files_keeps_its_rows(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    record, folder = write_artefact(fresh, "ingest", {"knowledge_item": items()}, {})
    register_artefact(writer, record, table="knowledge_item", folder=folder)
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert hash_content(moved, [shard["file"] for shard in record["shards"]]) == record["content_sha256"]
    register_artefact(writer, record, table="knowledge_item", folder=moved)
    found = find_artefact(writer, record["fingerprint"])
    assert found is not None and found["uri"] == str(moved)
    assert count(writer, "knowledge_item") == 24


def test_an_artefact_without_rows_is_registered(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    record, folder = write_artefact(fresh, "page", {}, {}, {"page.html": b"<p>"})
    assert register_artefact(writer, record, table=None, folder=folder) == 0
    with pytest.raises(ValueError, match="the record lacks stage"):
        register_artefact(writer, {key: record[key] for key in record if key != "stage"}, table=None, folder=folder)


def test_verify_names_the_artefact_whose_shard_changed(fresh: SmallWorld, writer: DuckDBPyConnection) -> None:
    for stage, part in (("ingest", items()), ("more", items()[:3])):
        record, folder = write_artefact(fresh, stage, {"knowledge_item": part}, {})
        register_artefact(writer, record, table="knowledge_item", folder=folder)
    assert [checked.faults for checked in verify_artefacts(writer, content=True)] == [(), ()]
    flip_a_byte(folder / "knowledge_item-00000.parquet")
    faults = {checked.stage: len(checked.faults) for checked in verify_artefacts(writer)}
    assert faults == {"ingest": 0, "more": 1}


def test_a_run_can_go_on_after_it_ended_and_a_stage_can_be_told_again(writer: DuckDBPyConnection) -> None:
    finish_run(writer, RUN_ID, status="failed", error="killed")
    run = {"run_id": RUN_ID, "flow": "f", "recipe_name": "r", "recipe": {"k": 1}, "flow_run_id": "second"}
    record_run(writer, run)
    stage = {"fingerprint": "fp", "stage": "ingest", "reason": "new", "seconds": 1.0}
    record_stage(writer, RUN_ID, stage | {"action": "made"})
    record_stage(writer, RUN_ID, stage | {"action": "reused"})
    facts = read_report_rows(writer, "run_facts", {"run_id": RUN_ID})[0]
    assert (facts["status"], facts["error"], facts["ended"], facts["flow_run_id"]) == ("running", None, None, "second")
    assert [row["action"] for row in read_report_rows(writer, "stage_table", {"run_id": RUN_ID})] == ["reused"]
    with pytest.raises(ValueError, match="the stage lacks action"):
        record_stage(writer, RUN_ID, stage)
    with pytest.raises(ValueError, match="no run 'other'"):
        finish_run(writer, "other", status="completed")


def many_drafts(numbers: range, answer: str) -> list[dict]:
    rows = [make_blank_row("draft") | {"sample_id": f"{number * 7919 % 10007:05d}"} for number in numbers]
    return [row | {"question": "Where?", "answer": answer, "item_ids": [f"i{answer}", "all"]} for row in rows]


def looked_up(database: Path, sample_ids: list[str]) -> list[tuple]:
    """Find drafts one by one, as the index does, and all at once, as a scan does; they agree."""
    with open_warehouse(database, read_only=True) as con:
        query = "SELECT sample_id, answer FROM draft WHERE sample_id = ?"
        by_index = [row for name in sample_ids for row in con.execute(query, [name]).fetchall()]
        scanned = con.execute("SELECT sample_id, answer FROM draft ORDER BY sample_id || ''").fetchall()
    assert sorted(by_index) == [row for row in scanned if row[0] in set(sample_ids)]
    return by_index


def test_drafts_that_are_replaced_are_found_by_what_they_are_now(fresh: SmallWorld) -> None:
    old, folder = write_artefact(fresh, "drafts", {"draft": many_drafts(range(3000), "old")}, {})
    names = sorted(row["sample_id"] for row in many_drafts(range(4000), ""))
    with open_warehouse(fresh.database) as con:
        register_artefact(con, old, table="draft", folder=folder)
    assert {answer for _, answer in looked_up(fresh.database, names)} == {"old"}
    shutil.rmtree(folder)
    new, folder = write_artefact(fresh, "drafts", {"draft": many_drafts(range(1000, 4000), "new")}, {})
    wrong = new | {"shards": [new["shards"][0], new["shards"][1] | {"rows": 7}]}
    with open_warehouse(fresh.database) as con, pytest.raises(ValueError, match="its record says 7"):
        register_artefact(con, wrong, table="draft", folder=folder, replace=True)
    assert {answer for _, answer in looked_up(fresh.database, names)} == {"old"}
    with open_warehouse(fresh.database) as con:
        register_artefact(con, new, table="draft", folder=folder, replace=True)
        links = con.execute("SELECT item_id, count(*) FROM draft_item GROUP BY ALL ORDER BY ALL").fetchall()
    assert links == [("all", 3000), ("inew", 3000)]
    found = looked_up(fresh.database, names)
    assert len(found) == 3000 and {answer for _, answer in found} == {"new"}
