"""Encoders of one run are compared in pairs on the same questions; of many, what is left out is said. Evaluations that
have no question in common are not compared."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest

from comem_core.knowledge.items import Question
from comem_core.recipes import find_recipe
from comem_core.worlds.countries.world import load_benchmark_questions
from tasks.data.benchmarks import BENCHMARK
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.evaluation.compare import Evaluation, collect_comparison, compare_with_last
from tasks.evaluation.encoder_pairs import compare_encoders, list_pairs, read_pairs
from tasks.evaluation.exam import PREDICTIONS
from tasks.rows.tables import make_question_table
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from warehouse.connection import open_warehouse
from warehouse.evaluations import record_evaluation
from warehouse.page.comparison import render_comparison
from warehouse.records import record_run
from warehouse.schemas import check_rows, make_blank_row

MARKED = Stage(name="scores", version="1")  # marks alone

UNSEEN = [question for question in load_benchmark_questions("test") if question.split == "unseen_entity"]
QUESTIONS, OTHERS = UNSEEN[:60], UNSEEN[60:80]


@dataclass(frozen=True)
class Made:
    """A recipe for what these tests put into the store."""

    name: str


@pytest.fixture
def run(context: Context) -> Run:
    recipe = find_recipe("tiny_cpu")
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=NO_BACKBONE)


def evaluation(
    run: Run, name: str, num_right: Mapping[str, int], questions: Sequence[Question] = QUESTIONS
) -> Evaluation:
    """An encoder that answers the first questions right, under each condition so many."""
    ids = {condition: [f"{name}/{condition}/{place}" for place in range(len(questions))] for condition in num_right}
    predictions = [
        make_blank_row("prediction")
        | {"prediction_id": ids[condition][place], "benchmark": "countries-vqa", "question_id": question.question_id}
        | {"split": question.split, "condition": condition, "k": 3, "item_ids": [], "answer": "", "truncated": False}
        for condition in num_right
        for place, question in enumerate(questions)
    ]
    marks = [
        {"prediction_id": prediction_id, "metric": "infoseek", "value": float(place < right), "unparsable": False}
        for condition, right in num_right.items()
        for place, prediction_id in enumerate(ids[condition])
    ]

    def mark(artefact: Partial) -> None:
        artefact.write_shard("marks", check_rows("mark", [make_blank_row("mark") | row for row in marks]))

    def stored(stage: Stage, rows: pa.Table) -> Reference:
        def make(artefact: Partial) -> None:
            artefact.write_shard("part-00000", rows)

        return run_stage(run, stage, Made(name), {}, make)

    return Evaluation(
        name=f"/some/folder/{name}",
        benchmark="countries-vqa",
        encoder=Reference(stage="encoder", fingerprint=f"weights of {name}", uri="/nowhere", num_rows=0),
        bank=Reference(stage="bank", fingerprint=f"bank of {name}", uri="/nowhere", num_rows=0),
        questions=stored(BENCHMARK, make_question_table(questions)),
        predictions=stored(PREDICTIONS, check_rows("prediction", predictions)),
        scores=run_stage(run, MARKED, Made(name), {}, mark),
    )


def test_of_two_encoders_the_better_one_is_named_and_a_tie_is_said_aloud(run: Run) -> None:
    good = evaluation(run, "good", {"memory": 50, "oracle": 31, "none": 0})
    bad = evaluation(run, "bad", {"memory": 10, "oracle": 30, "none": 60})
    [found] = read_pairs(compare_encoders.fn(run, [good, bad]))
    assert (found["benchmark"], found["metric"], found["left_out"]) == ("countries-vqa", "infoseek", None)
    memory, oracle = found["rows"]
    assert (memory["first"], memory["second"], memory["condition"], memory["word"]) == (
        "good",
        "bad",
        "memory",
        "better",
    )
    assert memory["value"] == pytest.approx(40 / 60, abs=1e-4) and memory["low"] < memory["value"] < memory["high"]
    assert (memory["n"], memory["changed"]) == (60, 40)
    assert (oracle["condition"], oracle["word"], oracle["changed"]) == ("oracle", "tied", 1)
    assert oracle["p_adjusted"] == 1.0 and oracle["needed"] > 60


def test_one_encoder_under_two_names_is_not_compared_with_itself(run: Run) -> None:
    one = evaluation(run, "one", {"memory": 5})
    assert compare_encoders.fn(run, [one, one]) is None


def test_of_many_encoders_the_last_is_compared_with_each_and_what_is_left_out_is_said(run: Run) -> None:
    many = [evaluation(run, f"encoder-{place}", {"memory": 8 * place}) for place in range(6)]
    [found] = read_pairs(compare_encoders.fn(run, many))
    assert [(row["first"], row["second"]) for row in found["rows"]] == [
        ("encoder-5", f"encoder-{place}") for place in range(5)
    ]
    assert "6 encoders: the last one, encoder-5, is compared with each of the others; the 10 pairs" in found["left_out"]
    assert len(list_pairs(many[:5])) == 10


def test_an_evaluation_is_compared_with_the_last_one_and_its_differences_are_rows(run: Run) -> None:
    with open_warehouse(run.context.warehouse) as con:
        for name in ("run-1", "run-2"):
            of_run = {"run_id": name, "flow": "f", "recipe_name": "tiny_cpu", "recipe": {"k": 3}}
            record_run(con, of_run | {"flow_run_id": None})
    first, second = (evaluation(run, name, {"memory": right}) for name, right in (("a", 9), ("b", 50)))
    assert compare_with_last.fn(run, replace(first, name="one")).compared is None
    since = compare_with_last.fn(replace(run, run_id="run-2"), replace(second, name="one"))
    assert since.compared is not None and since.compared.verdict.startswith("Better: memory (k = 3) by 68.3")
    with open_warehouse(run.context.warehouse, read_only=True) as con:
        rows = con.execute("SELECT first, second, k, word FROM difference WHERE before IS NOT NULL").fetchall()
    assert set(rows) == {("memory", "memory", 3, "better")}


def test_an_evaluation_is_compared_only_with_those_of_its_own_store(run: Run, tmp_path: Path) -> None:
    other = replace(run, run_id="run-2", context=replace(run.context, store=tmp_path / "another store"))
    again = replace(run, run_id="run-3")
    made = {each.run_id: evaluation(each, each.run_id, {"memory": right}) for each, right in ((run, 9), (other, 50))}
    made["run-3"] = evaluation(again, "run-3", {"memory": 50})
    since = {each.run_id: compare_with_last.fn(each, replace(made[each.run_id], name="one")) for each in (run, other)}
    assert since["run-1"].compared is None and since["run-2"].compared is None  # one warehouse knows both
    compared = compare_with_last.fn(again, replace(made["run-3"], name="one")).compared
    assert compared is not None and compared.before["run_id"] == "run-1"


def test_what_so_few_questions_cannot_tell_is_said_in_the_log_and_in_the_verdict(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runs = [run, replace(run, run_id="run-2")]
    few = [
        evaluation(each, each.run_id, {"memory": right}, UNSEEN[:5]) for each, right in zip(runs, (5, 2), strict=True)
    ]
    compare_with_last.fn(runs[0], replace(few[0], name="one"))
    compared = compare_with_last.fn(runs[1], replace(few[1], name="one")).compared
    assert compared is not None and not compared.has_moved
    assert compared.verdict == "Cannot be told with 5 questions: too few for an interval under any condition."
    assert "memory k=3: cannot be told with 5 questions, -60.0 points (too few clusters)" in caplog.text
    assert "tied" not in caplog.text


def test_evaluations_without_a_question_in_common_are_said_to_be_of_two_benchmarks(run: Run) -> None:
    runs = [run, replace(run, run_id="run-2")]
    asked = [QUESTIONS, OTHERS]
    rows = [
        evaluation(each, each.run_id, {"memory": 9}, ask).make_row(each) for each, ask in zip(runs, asked, strict=True)
    ]
    with open_warehouse(run.context.warehouse) as con:
        for row in rows:
            record_run(
                con, {"run_id": row["run_id"], "flow": "f", "recipe_name": "r", "recipe": {"k": 3}, "flow_run_id": None}
            )
            record_evaluation(con, row)
    compared = collect_comparison(run.context, *rows)
    assert compared.verdict == "Two benchmarks: the two evaluations share no question, so nothing is compared."
    assert [str(change) for change in compared.changes] == [
        f"another benchmark (questions): benchmark {rows[0]['questions']} -> benchmark {rows[1]['questions']}"
    ]
    page = render_comparison(compared, images=lambda image_id: None)
    assert "These are two benchmarks" in page and "share no question" in page
