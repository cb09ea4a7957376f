"""`make record`: the plain recipe is the demo; another reader or a variant stands in the side tables."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from comem_core.recipes import find_recipe, with_reader
from comem_core.recipes.recipe import ReaderRecipe, Recipe
from flows.local.recording import record
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.records import finish_run, record_run, record_stage

BLIND = ReaderRecipe(name="tiny-text", question_picture=False)


@pytest.fixture
def ended(context: Context) -> Callable[[Recipe], None]:
    """Return a function that notes a completed run of a recipe, with one score."""

    def note(recipe: Recipe) -> None:
        run = {"run_id": recipe.name, "flow": "synth-and-train", "recipe_name": recipe.name, "flow_run_id": None}
        stage = {
            "stage": "scores",
            "fingerprint": f"scores of {recipe.name}",
            "action": "made",
            "reason": "",
            "seconds": 1,
        }
        with open_warehouse(context.warehouse) as con:
            record_run(con, run | {"recipe": asdict(recipe)})
            record_stage(con, recipe.name, stage)
            con.execute(
                "INSERT INTO score VALUES (?, 'countries-vqa', 'memory', 3, 'all', 'infoseek', 0.5, 0.25, 0.75, 8, 20)",
                [stage["fingerprint"]],
            )
            finish_run(con, recipe.name, status="completed")

    return note


def written(root: Path, topic: str) -> dict[str, dict[str, Any]]:
    path = root / "docs" / "results" / f"{topic}.json"
    return {row["measure"]: row for row in json.loads(path.read_text())} if path.exists() else {}


def test_the_plain_recipe_is_the_demo(context: Context, ended: Callable[[Recipe], None], tmp_path: Path) -> None:
    ended(find_recipe("tiny_cpu"))
    record(context, tmp_path, seconds=9.0, peak_memory_gb=1.0)
    assert set(written(tmp_path, "demo")) == {"em_memory", "demo_seconds", "demo_peak_memory_gb"}
    assert written(tmp_path, "demo")["em_memory"]["command"] == "make demo"
    assert not written(tmp_path, "side_tables")


@pytest.mark.parametrize(
    ("recipe", "measure", "command"),
    [
        (with_reader(find_recipe("tiny_cpu"), "tiny-text"), "em_memory+reader=tiny-text", "-p reader=tiny-text"),
        (
            with_reader(find_recipe("tiny_cpu"), BLIND),
            "em_memory+reader=tiny-text,blind",
            """-p reader='"'"'{"name": "tiny-text", "question_picture": false}'"'"'""",
        ),
        (find_recipe("tiny_cpu", variant="vectors=4"), "em_memory+vectors=4", "-p variant=vectors=4"),
    ],
)
def test_another_reader_or_a_variant_leaves_the_demo_alone_and_says_its_command(
    context: Context, ended: Callable[[Recipe], None], tmp_path: Path, recipe: Recipe, measure: str, command: str
) -> None:
    ended(recipe)
    record(context, tmp_path, seconds=9.0, peak_memory_gb=1.0)
    [row] = written(tmp_path, "side_tables").values()
    assert (row["measure"], row["recipe"], row["value"], row["low"]) == (measure, recipe.name, 50.0, 25.0)
    assert row["command"] == f"make demo ARGS='{command}'"
    assert not written(tmp_path, "demo")


def test_rows_of_other_readers_stay(context: Context, ended: Callable[[Recipe], None], tmp_path: Path) -> None:
    for reader in ("tiny-text", BLIND):
        ended(with_reader(find_recipe("tiny_cpu"), reader))
        record(context, tmp_path, seconds=9.0, peak_memory_gb=1.0)
    assert len(written(tmp_path, "side_tables")) == 2
