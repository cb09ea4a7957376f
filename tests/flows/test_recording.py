"""`make record`: the plain recipe is the demo, its mean over seeds the headline; variants stand in the side tables."""

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from comem_core.recipes import find_recipe, with_reader
from comem_core.recipes.recipe import ReaderRecipe, Recipe
from flows.local.recording import record
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.evaluations import record_evaluation
from warehouse.records import finish_run, record_run, record_stage

BLIND = ReaderRecipe(name="tiny-text", question_picture=False)


SHARE = {0: 0.5, 1: 0.75, 2: 0.65}  # the right answers of each seed


@pytest.fixture
def ended(context: Context) -> Callable[..., None]:
    """Return a function that notes a completed run of a recipe, with its answers to 40 questions and their score.

    `knowledge` is what the run did to get its items: it made, continued or reused them.
    """

    numbers = count()

    def note(recipe: Recipe, *, knowledge: str = "made") -> None:
        seed = recipe.training.encoder.seed
        run_id = f"{recipe.name} {seed} {next(numbers)}"
        made = {role: f"{role} of {run_id}" for role in ("questions", "predictions", "scores")}
        run = {"run_id": run_id, "flow": "synth-and-train", "recipe_name": recipe.name, "flow_run_id": None}
        evaluation = {"run_id": run_id, "recipe_name": recipe.name, "encoder_name": "trained", "encoder": "e"} | made
        stage = {"stage": "scores", "fingerprint": made["scores"], "action": "made", "reason": "", "seconds": 1}
        with open_warehouse(context.warehouse) as con:
            record_run(con, run | {"recipe": asdict(recipe)})
            record_stage(con, run_id, stage)
            record_stage(con, run_id, stage | {"stage": "knowledge", "fingerprint": "items", "action": knowledge})
            record_evaluation(con, evaluation | {"benchmark": "countries-vqa"})
            con.execute(
                "INSERT INTO score VALUES (?, 'countries-vqa', 'memory', 3, 'all', 'infoseek', ?, 0.25, 0.75, 40, 20)",
                [made["scores"], SHARE[seed]],
            )
            for number in range(40):
                question_id = f"q{number:02}"
                con.execute(
                    "INSERT INTO question BY NAME SELECT ? AS artefact, ? AS question_id, 'what?' AS question, "
                    "'unseen_entity' AS split, ? AS entity_id",
                    [made["questions"], question_id, f"country {number // 2}"],
                )
                con.execute(
                    "INSERT INTO prediction BY NAME SELECT ? AS artefact, ? AS prediction_id, ? AS question_id, "
                    "'countries-vqa' AS benchmark, 'memory' AS condition, 3 AS k",
                    [made["predictions"], question_id, question_id],
                )
                con.execute(
                    "INSERT INTO mark BY NAME SELECT ? AS artefact, ? AS prediction_id, 'infoseek' AS metric, "
                    "? AS value",
                    [made["scores"], question_id, float(number < 40 * SHARE[seed])],
                )
            finish_run(con, run_id, status="completed")

    return note


def written(root: Path, topic: str) -> dict[str, dict[str, Any]]:
    path = root / "docs" / "results" / f"{topic}.json"
    return {row["measure"]: row for row in json.loads(path.read_text())} if path.exists() else {}


def test_the_plain_recipe_is_the_demo_and_one_seed_is_no_headline(
    context: Context, ended: Callable[[Recipe], None], tmp_path: Path
) -> None:
    ended(find_recipe("tiny_cpu"))
    record(context, tmp_path, seconds=9.0, peak_memory_gb=1.0)
    assert set(written(tmp_path, "demo")) == {"infoseek_memory_seed_0", "demo_seconds", "demo_peak_memory_gb"}
    assert written(tmp_path, "demo")["infoseek_memory_seed_0"]["command"] == "make demo"
    assert not written(tmp_path, "side_tables")


@pytest.mark.parametrize("knowledge", ["reused", "continued"])
def test_time_and_memory_are_those_of_a_demo_that_made_everything(
    context: Context, ended: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str], knowledge: str
) -> None:
    ended(find_recipe("tiny_cpu"))
    record(context, tmp_path, seconds=9.0, peak_memory_gb=1.0)
    assert not capsys.readouterr().out
    ended(find_recipe("tiny_cpu", seed=1), knowledge=knowledge)
    record(context, tmp_path, seconds=2.0, peak_memory_gb=0.5)
    rows = written(tmp_path, "demo")
    assert (rows["demo_seconds"]["value"], rows["demo_peak_memory_gb"]["value"]) == (9, 1.0)
    assert rows["demo_seconds"]["seeds"] == [0] and rows["infoseek_memory_seed_1"]["value"] == 75.0
    assert capsys.readouterr().out.strip().endswith("stay as they were: the last demo reused knowledge")


def test_the_headline_is_the_mean_of_three_seeds_with_an_interval_that_holds_them(
    context: Context, ended: Callable[[Recipe], None], tmp_path: Path
) -> None:
    ended(find_recipe("tiny_cpu", seed=1, limit=40))  # another recipe, though it has the same name
    for seed in (1, 0, 2, 0):
        ended(find_recipe("tiny_cpu", seed=seed))
        record(context, tmp_path, seconds=9.0, peak_memory_gb=1.0)
    rows = written(tmp_path, "demo")
    assert {f"infoseek_memory_seed_{seed}" for seed in SHARE} < set(rows)
    assert rows["infoseek_memory_seed_1"]["seeds"] == [1]
    mean = rows["infoseek_memory"]
    assert (mean["value"], mean["seeds"], mean["n"]) == (63.33, [0, 1, 2], 40)
    assert mean["low"] < 50 and mean["high"] > 75
    assert mean["command"] == "make demo; make demo ARGS='-p seed=1'; make demo ARGS='-p seed=2'"


@pytest.mark.parametrize(
    ("recipe", "measure", "command"),
    [
        (with_reader(find_recipe("tiny_cpu"), "tiny-text"), "infoseek_memory+reader=tiny-text", "-p reader=tiny-text"),
        (
            with_reader(find_recipe("tiny_cpu"), BLIND),
            "infoseek_memory+reader=tiny-text,blind",
            """-p reader='"'"'{"name": "tiny-text", "question_picture": false}'"'"'""",
        ),
        (find_recipe("tiny_cpu", variant="vectors=4"), "infoseek_memory+vectors=4", "-p variant=vectors=4"),
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
