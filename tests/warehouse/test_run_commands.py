"""Commands about a run's samples take the last run that has some, whatever began or failed since."""

from pathlib import Path

import pytest
from small_world import RUN_ID, SmallWorld, build

from warehouse.__main__ import main
from warehouse.connection import open_warehouse
from warehouse.records import finish_run, record_run


@pytest.fixture
def world(tmp_path: Path) -> SmallWorld:
    """A finished run, then a run that failed before its first draft, and an evaluation that still runs."""
    world = build(tmp_path / "world")
    with open_warehouse(world.database) as con:
        for run_id, flow in (("failed-run", "synth-and-train"), ("running-run", "re-evaluate")):
            facts = {"run_id": run_id, "flow": flow, "recipe_name": "tiny_cpu", "recipe": {}, "flow_run_id": None}
            record_run(con, facts)
        finish_run(con, "failed-run", status="failed", error="ValueError: nothing")
    return world


@pytest.mark.parametrize("command", ["funnel", "filter", "ledger", "card"])
def test_the_last_run_with_samples_is_shown_after_others_began_or_failed(
    world: SmallWorld, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--database", str(world.database)]) == 0
    found = capsys.readouterr().out
    assert main([command, "--run", RUN_ID, "--database", str(world.database)]) == 0
    assert capsys.readouterr().out == found != ""
    for run_id in ("failed-run", "running-run", "nothing"):
        assert main([command, "--run", run_id, "--database", str(world.database)]) == 2
        assert f"warehouse: the run {run_id} has no filtered drafts" in capsys.readouterr().err


def test_a_warehouse_without_samples_says_which_flow_makes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_warehouse(tmp_path / "empty.duckdb"):
        pass
    assert main(["ledger", "--database", str(tmp_path / "empty.duckdb")]) == 2
    assert "no run has filtered drafts yet: synth-and-train makes them" in capsys.readouterr().err


COMMANDS = {
    "lineage": ["0123456789abcdef"],
    "funnel": [],
    "filter": [],
    "ledger": [],
    "card": [],
    "openlineage": [],
    "diff": ["0123456789abcdef", "fedcba9876543210"],
    "report": ["score_table"],
}


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "empty"])
@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_run_every_command_says_so_in_one_line(
    tmp_path: Path, command: str, exists: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "warehouse.duckdb"
    if exists:
        main(["migrate", "--database", str(database)])
        capsys.readouterr()
    assert main([command, "--database", str(database), *COMMANDS[command]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("warehouse: ") and err.count("\n") == 1
    if not exists:
        assert f"there is no warehouse at {database}; run synth-and-train first" in err
    elif command in ("openlineage", "report"):
        assert "the warehouse has no run yet; run synth-and-train first" in err
