"""A run's OpenLineage events are the official client's own, say what is known, and reach a server of lineage."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import networkx
import pytest
from duckdb import DuckDBPyConnection
from openlineage.client import event_v2
from small_world import RUN_ID, SmallWorld, make_samples, start

from tests.lineage_server import LineageServer, open_lineage_server
from warehouse.__main__ import main
from warehouse.connection import open_warehouse
from warehouse.openlineage import make_openlineage_events, write_openlineage_lines
from warehouse.records import finish_run, record_stage


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LineageServer]:
    """Yield a server of lineage whose address is in the environment."""
    monkeypatch.chdir(tmp_path)
    with open_lineage_server() as server:
        monkeypatch.setenv("OPENLINEAGE_URL", server.url)
        yield server


def parse(con: DuckDBPyConnection) -> list[dict[str, Any]]:
    return [json.loads(line) for line in write_openlineage_lines(con, RUN_ID).splitlines()]


def of_stage(events: list[dict[str, Any]], stage: str) -> list[dict[str, Any]]:
    return [event for event in events if event["job"]["name"].endswith(f".{stage}")]


def test_every_event_and_facet_is_one_of_the_official_classes(con: DuckDBPyConnection, world: SmallWorld) -> None:
    events = parse(con)
    assert all(isinstance(event, event_v2.RunEvent) for event in make_openlineage_events(con, RUN_ID))
    assert len(events) == 2 * len(world.fingerprints) + 2
    for event in events:
        assert uuid.UUID(event["run"]["runId"]) and datetime.fromisoformat(event["eventTime"]).tzinfo
        facets = [*event["run"]["facets"].values(), *event["job"]["facets"].values()]
        for dataset in (*event["inputs"], *event["outputs"]):
            facets += [*dataset["facets"].values(), *dataset.get("outputFacets", {}).values()]
        assert facets and all({"_producer", "_schemaURL"} <= facet.keys() for facet in facets)
        assert {facet["_producer"] for facet in facets} == {event["producer"]}


def test_the_flow_is_the_parent_of_its_stages_and_begins_and_ends_around_them(con: DuckDBPyConnection) -> None:
    first, *stages, last = parse(con)
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    assert first["run"] == last["run"] and first["job"] == last["job"]
    assert {each["run"]["facets"]["parent"]["run"]["runId"] for each in stages} == {first["run"]["runId"]}
    assert {each["run"]["facets"]["parent"]["job"]["name"] for each in stages} == {first["job"]["name"]}
    assert json.loads(first["run"]["facets"]["comem_flow"]["settings"])


def test_a_stage_says_its_datasets_sizes_and_columns(con: DuckDBPyConnection, world: SmallWorld) -> None:
    begun, ended = of_stage(parse(con), "synthesise")
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert begun["run"] == ended["run"] and begun["eventTime"] <= ended["eventTime"]
    (output,) = ended["outputs"]
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == 49
    assert ("sample_id", "string") in {(each["name"], each["type"]) for each in output["facets"]["schema"]["fields"]}
    assert output["facets"]["datasetType"]["datasetType"] == "FILE"
    assert {dataset["name"] for dataset in ended["inputs"]} >= {f"ingest/{world.fingerprints['ingest']}"}
    read = next(dataset for dataset in ended["inputs"] if dataset["name"].startswith("ingest/"))
    assert read["facets"].keys() >= {"version", "schema", "dataSource"} and not read["inputFacets"]
    (scored,) = of_stage(parse(con), "score")[-1]["outputs"]
    assert [field["name"] for field in scored["facets"]["schema"]["fields"]] == ["difference", "prediction", "score"]


def test_weights_are_a_model_with_its_recipe_and_training(con: DuckDBPyConnection) -> None:
    (weights,) = of_stage(parse(con), "train")[-1]["outputs"]
    assert weights["facets"]["datasetType"]["datasetType"] == "MODEL"
    steps = con.execute("SELECT loss FROM training_step ORDER BY step").fetchall()
    trained = weights["facets"]["comem_training"]
    assert (trained["steps"], trained["firstLoss"], trained["lastLoss"]) == (len(steps), steps[0][0], steps[-1][0])
    assert isinstance(json.loads(weights["facets"]["comem_artefact"]["recipe"]), dict)


def test_scores_of_whole_splits_are_metrics_of_their_dataset(con: DuckDBPyConnection) -> None:
    (scored,) = of_stage(parse(con), "score")[-1]["outputs"]
    told = scored["outputFacets"]["comem_scores"]["scores"]
    expected = con.execute("SELECT condition, metric, value FROM score WHERE NOT contains(split, '/')").fetchall()
    assert expected
    assert sorted((each["condition"], each["metric"], each["value"]) for each in told) == sorted(expected)


def test_a_failed_run_ends_with_its_error_and_a_running_one_has_no_end(tmp_path: Path) -> None:
    world = start(tmp_path)
    make_samples(world)
    with open_warehouse(world.database) as con:
        assert parse(con)[-1]["job"]["name"] != parse(con)[0]["job"]["name"]
        failed = {
            "stage": "train",
            "fingerprint": "f" * 16,
            "action": "failed",
            "reason": "NaN at step 3",
            "seconds": 1.0,
        }
        record_stage(con, RUN_ID, failed)
        finish_run(con, RUN_ID, status="failed", error="the stage train failed")
        *_, stage, flow = parse(con)
    assert (stage["eventType"], flow["eventType"]) == ("FAIL", "FAIL")
    assert stage["run"]["facets"]["errorMessage"]["message"] == "NaN at step 3" and stage["outputs"] == []
    assert flow["run"]["facets"]["errorMessage"]["message"] == "the stage train failed"


def test_a_server_of_lineage_gets_the_whole_graph(
    world: SmallWorld, receiver: LineageServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "a-key")
    assert main(["openlineage", "--send", "--run", RUN_ID, "--database", str(world.database)]) == 0
    assert f"sent {len(receiver.events)} events" in capsys.readouterr().out
    assert "a-key" not in {value for name, value in os.environ.items() if name != "OPENLINEAGE_API_KEY"}
    assert receiver.keys == {"Bearer a-key"}
    graph = networkx.DiGraph()
    for event in receiver.events:
        for read in event["inputs"]:
            graph.add_edge(read["name"], event["job"]["name"])
        for written in event["outputs"]:
            graph.add_edge(event["job"]["name"], written["name"])
    scores, items = (f"{stage}/{world.fingerprints[stage]}" for stage in ("score", "ingest"))
    assert networkx.is_directed_acyclic_graph(graph) and networkx.has_path(graph, items, scores)


def test_a_server_that_refuses_ends_the_command_with_what_was_sent(
    world: SmallWorld, receiver: LineageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.fails_after = 3
    assert main(["openlineage", "--send", "--run", RUN_ID, "--database", str(world.database)]) == 2
    said = capsys.readouterr().err
    assert "3 of " in said and "422" in said and f"--run {RUN_ID} --send" in said and "Traceback" not in said


def test_without_an_address_the_setting_is_named(
    world: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["openlineage", "--send", "--run", RUN_ID, "--database", str(world.database)]) == 2
    captured = capsys.readouterr()
    assert "set OPENLINEAGE_URL" in captured.err and captured.out == ""


def test_settings_that_are_half_there_are_named(
    world: SmallWorld, receiver: LineageServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps({"type": "http", "auth": {"type": "api_key"}}))
    assert main(["openlineage", "--send", "--run", RUN_ID, "--database", str(world.database)]) == 2
    said = capsys.readouterr().err
    assert "the settings of OpenLineage cannot be read" in said and receiver.events == []
