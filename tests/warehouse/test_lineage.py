"""Lineage answers in both directions, for artefacts and for rows; so do the command line and the export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection
from small_rows import items
from small_world import RUN_ID, SmallWorld, add, make_samples, make_scores, start

from warehouse.__main__ import main
from warehouse.connection import open_warehouse
from warehouse.lineage import Link, find_kind, trace_downward, trace_draft, trace_item, trace_prediction, trace_upward


def by_kind(links: list[Link]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for link in links:
        found.setdefault(link.kind, set()).add(link.id)
    return found


def ids(con: DuckDBPyConnection, query: str, *values: object) -> set[str]:
    return {name for (name,) in con.execute(query, list(values)).fetchall()}


def test_the_artefact_graph_is_walked_both_ways(con: DuckDBPyConnection, world: SmallWorld) -> None:
    names = world.fingerprints
    above = {edge.input_fingerprint for edge in trace_upward(con, names["train"])}
    assert above == {names[stage] for stage in ("ingest", "questions", "retrieve", "synthesise", "judge", "filter")}
    below = {edge.stage for edge in trace_downward(con, names["judge"])}
    assert below == {"filter", "train", "encode", "contamination", "score"}
    assert trace_upward(con, names["ingest"]) == trace_downward(con, names["score"]) == []


def test_a_prediction_leads_to_items_encoder_bank_samples_and_drafts(
    con: DuckDBPyConnection, world: SmallWorld
) -> None:
    prediction_id, item_ids = con.execute(
        "SELECT prediction_id, item_ids FROM prediction WHERE condition = 'memory' ORDER BY prediction_id LIMIT 1"
    ).fetchall()[0]
    links = trace_prediction(con, prediction_id)
    found = by_kind(links)
    ranked = [link.id for link in links if link.kind == "item"]
    assert ranked == item_ids
    assert [link.value for link in links if link.kind == "item"] == [0.91, 0.74, 0.52]
    assert found["encoder"] == {world.fingerprints["train"]}
    assert found["bank"] == {world.fingerprints["encode"]}
    assert found["sample"] == found["draft"] == ids(con, "SELECT sample_id FROM sample")
    shared = [link.place for link in links if link.kind == "sample"]
    assert shared == sorted(shared, key=lambda place: -(place or 0))
    few = trace_prediction(con, prediction_id, limit=2)
    assert sum(link.kind == "sample" for link in few) == 2
    assert {link.total for link in few if link.kind == "sample"} == {len(found["sample"])}


def test_an_item_leads_to_every_draft_drop_sample_bank_and_prediction(
    con: DuckDBPyConnection, world: SmallWorld
) -> None:
    for item_id in (row["item_id"] for row in items()[:6]):
        found = by_kind(trace_item(con, item_id))
        drafts = ids(con, "SELECT sample_id FROM draft WHERE list_contains(item_ids, ?)", item_id)
        assert found.get("draft", set()) == drafts
        assert found.get("sample", set()) | found.get("drop", set()) == drafts
        expected = ids(con, "SELECT prediction_id FROM prediction WHERE list_contains(item_ids, ?)", item_id)
        assert found.get("prediction", set()) == expected
        assert found["bank"] == {world.fingerprints["encode"]}


def test_a_draft_tells_its_life(con: DuckDBPyConnection, world: SmallWorld) -> None:
    kept, dropped = (
        con.execute(f"SELECT min(sample_id) FROM {table}").fetchall()[0][0] for table in ("sample", "drop")
    )
    assert by_kind(trace_draft(con, kept)).keys() == {"draft", "item", "verdict", "sample", "encoder"}
    assert by_kind(trace_draft(con, dropped)).keys() == {"draft", "item", "verdict", "drop"}


def test_a_sample_that_a_later_stage_left_out_was_not_trained_on(tmp_path: Path) -> None:
    world = start(tmp_path)
    make_samples(world)
    with open_warehouse(world.database, read_only=True) as con:
        kept = sorted(ids(con, "SELECT sample_id FROM sample"))
    add(world, "thin", {"sample": [{"sample_id": each} for each in kept[::2]]}, "kept=filter drafts=synthesise")
    make_scores(world, kept="thin")
    encoder = {world.fingerprints["train"]}
    with open_warehouse(world.database, read_only=True) as con:
        trained = {each: by_kind(trace_draft(con, each)).get("encoder", set()) for each in kept}
        assert trained == {each: encoder if each in kept[::2] else set() for each in kept}
        links = trace_prediction(con, next(iter(ids(con, "SELECT prediction_id FROM prediction"))))
        found = by_kind(links)
        assert found["sample"] == found["draft"] == set(kept[::2])
        assert {link.artefact for link in links if link.kind == "sample"} == {world.fingerprints["thin"]}
        assert {link.total for link in links if link.kind == "sample"} == {len(kept[::2])}
        for item in items():
            shown = ids(con, "SELECT sample_id FROM draft WHERE list_contains(item_ids, ?)", item["item_id"])
            used = by_kind(trace_item(con, item["item_id"])).get("encoder", set())
            assert used == (encoder if shown & set(kept[::2]) else set())


def test_an_unknown_id_is_refused(con: DuckDBPyConnection, world: SmallWorld) -> None:
    assert find_kind(con, RUN_ID) == "run" and find_kind(con, world.fingerprints["train"]) == "artefact"
    with pytest.raises(ValueError, match="has no item 'nothing'"):
        trace_item(con, "nothing")
    with pytest.raises(ValueError, match="nothing in the warehouse has the id 'nothing'"):
        find_kind(con, "nothing")


def test_the_command_line_answers(world: SmallWorld, capsys: pytest.CaptureFixture[str]) -> None:
    database = ["--database", str(world.database)]
    assert main(["lineage", world.fingerprints["filter"], *database]) == 0
    text = capsys.readouterr().out
    assert "made from" in text and f"drafts: synthesise {world.fingerprints['synthesise']}" in text
    assert main(["lineage", items()[0]["item_id"], "--limit", "1", *database]) == 0
    assert "the first 1)" in capsys.readouterr().out
    assert main(["verify", "--content", *database]) == 0
    assert "all unchanged" in capsys.readouterr().out
    assert main(["funnel", "--run", RUN_ID, *database]) == 0
    assert "not_needed" in capsys.readouterr().out
    assert main(["report", "score_table", *database]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[1])["benchmark"] == "countries-vqa"
    assert main(["report", "artefacts_upward", "--set", "fingerprints=[]", *database]) == 0
    assert main(["lineage", "nothing", *database]) == 2
    assert "nothing in the warehouse has the id" in capsys.readouterr().err
    assert main(["report", "no_such", *database]) == 2
    assert "the queries are answered" in capsys.readouterr().err
