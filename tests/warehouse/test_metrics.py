"""Monitoring gets, in Prometheus' own format, what the warehouse has."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from small_world import SmallWorld, build

from warehouse.__main__ import main
from warehouse.commands.metrics import HELP, refresh_metrics, write_metrics
from warehouse.connection import open_warehouse
from warehouse.records import finish_run, record_run, record_stage
from warehouse.sql import read_sql

NAME = 'my "recipe"\n2'


@pytest.fixture
def world(tmp_path: Path) -> SmallWorld:
    """A finished run, and one with an odd name in which a stage failed."""
    world = build(tmp_path / "world")
    with open_warehouse(world.database) as con:
        record_run(con, {"run_id": "b", "flow": "re-evaluate", "recipe_name": NAME, "recipe": {}, "flow_run_id": None})
        reason = "ServerGone: nobody answers at http://127.0.0.1:1"
        failed = {"stage": "drafts", "fingerprint": "f", "action": "failed", "reason": reason, "seconds": 2.0}
        record_stage(con, "b", failed)
        finish_run(con, "b", status="failed", error=reason)
    return world


def read(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Read the values by metric and by the values of the labels, in the order of their names."""
    return {
        family.name: {tuple(value for _, value in sorted(each.labels.items())): each.value for each in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_what_prometheus_reads_is_what_the_warehouse_has(world: SmallWorld) -> None:
    with open_warehouse(world.database, read_only=True) as con:
        found = read(write_metrics(con))
        dropped = dict(con.execute("SELECT reason, count(*) FROM drop GROUP BY 1").fetchall())
        made = con.execute(
            "SELECT stage, sum(num_rows) FROM run_stage JOIN artefact USING (fingerprint, stage) "
            "WHERE action IN ('made', 'continued') GROUP BY 1"
        ).fetchall()
    assert found["comem_runs"]["re-evaluate", NAME, "failed"] == 1
    assert sum(found["comem_runs"].values()) == len(found["comem_last_run_seconds"]) == 2
    assert found["comem_stage_failures"] == {("ServerGone", "drafts"): 1}
    assert found["comem_dropped_drafts"] == {(reason,): count for reason, count in dropped.items()}
    assert found["comem_stage_rows_made"] == {(stage,): rows for stage, rows in made}
    assert any("memory" in labels and 0 < value <= 1 for labels, value in found["comem_score"].items())


def test_each_metric_is_explained_and_each_explanation_is_of_one() -> None:
    assert set(re.findall(r"'(comem_\w+)'", read_sql("reports", "metrics"))) == HELP.keys()


def test_the_command_and_the_file_say_the_same(world: SmallWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--database", str(world.database)]) == 0
    path = world.database.with_suffix(".prom")
    with open_warehouse(world.database, read_only=True) as con:
        refresh_metrics(con, path)
    assert path.read_text(encoding="utf-8") == capsys.readouterr().out
    assert [each.name for each in path.parent.iterdir() if "tmp" in each.name] == []


def test_an_empty_warehouse_has_no_metric(tmp_path: Path) -> None:
    with open_warehouse(tmp_path / "warehouse.duckdb") as con:
        assert write_metrics(con) == ""
