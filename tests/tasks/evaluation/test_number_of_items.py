"""A number of items chosen on questions that are not scored: which questions, which number, and where none can be."""

from dataclasses import replace
from typing import Any

import pytest

from comem_core.worlds.countries.world import load_benchmark_questions
from tasks.data.benchmarks import BENCHMARK
from tasks.data.retrieve import retrieve
from tasks.engine.plan import start_planning
from tasks.evaluation.answer import answer_benchmark
from tasks.evaluation.held_out.number_of_items import (
    can_try,
    choose_k,
    describe_choice,
    find_trial_of_k,
    with_chosen_k,
)
from tasks.evaluation.held_out.trial import Trial, set_aside
from tasks.rows.tables import make_question_table, read_questions, read_rows
from tasks.run import Run
from tests.tasks.evaluation.finished_store import QUESTIONS, Finished, put

AMONG = (3, 1, 2, 3)


def make_asking(run: Run, **changes: Any) -> Run:
    evaluation = run.recipe.evaluation
    held_out = replace(evaluation.held_out, k_among=AMONG)
    return run.with_recipe(evaluation=replace(evaluation, held_out=held_out, **changes))


def trial_of(run: Run) -> Trial:
    trial = find_trial_of_k(run)
    assert trial is not None
    return trial


def test_a_trial_asks_one_condition_with_every_number(finished: Finished) -> None:
    assert find_trial_of_k(finished.run) is None
    trial = trial_of(make_asking(finished.run))
    asked = trial.run.recipe.evaluation
    assert trial.is_apart and (asked.part, asked.num_questions) == ("dev", 400)
    assert (asked.conditions, asked.all_k, asked.judge) == (("memory",), (1, 2, 3), None)
    without_memory = trial_of(make_asking(finished.run, conditions=("none", "text"), part="dev"))
    assert not without_memory.is_apart and without_memory.run.recipe.evaluation.conditions == ("text",)


def test_the_fewest_items_of_the_best_answers_are_chosen(finished: Finished) -> None:
    run = make_asking(finished.run, part="dev")
    trial = trial_of(run)
    exam = finished.make_exam()
    predictions = answer_benchmark.fn(trial.run, exam)
    tried = choose_k.fn(run, trial, exam, predictions)
    rows, marks = list(read_rows(tried)), list(read_rows(predictions))
    for row in rows:
        given = [each["correct"] for each in marks if each["k"] == row["k"]]
        assert (row["n"], row["score"]) == (len(given), pytest.approx(sum(given) / len(given)))
        assert row["low"] <= row["score"] <= row["high"]
    best = max(row["score"] for row in rows)
    chosen = min(row["k"] for row in rows if row["score"] >= best - run.recipe.evaluation.held_out.max_loss)
    assert [row["k"] for row in rows if row["is_chosen"]] == [chosen]
    assert with_chosen_k(run, tried).recipe.evaluation.all_k == (chosen,)
    assert describe_choice(rows).startswith(f"k={chosen}: {chosen} item")


def test_questions_about_one_picture_stay_together_and_each_is_on_one_side(finished: Finished) -> None:
    run = make_asking(finished.run)
    tried, scored = (
        list(read_questions(set_aside.fn(run, finished.questions, purpose=purpose))) for purpose in ("tried", "scored")
    )
    assert {each.question_id for each in tried + scored} == {each.question_id for each in QUESTIONS}
    assert len(tried + scored) == len(QUESTIONS) and tried and scored
    assert not {each.entity_id for each in tried} & {each.entity_id for each in scored}


def test_where_nothing_can_be_set_aside_the_recipe_s_number_stays(
    finished: Finished, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_asking(finished.run)
    one = [each for each in load_benchmark_questions("dev") if each.entity_id == QUESTIONS[0].entity_id]
    questions = put(run, BENCHMARK, "about one country", make_question_table(one))
    sides = [set_aside.fn(run, questions, purpose=purpose) for purpose in ("tried", "scored")]
    assert sorted(each.num_rows for each in sides) == [0, len(one)]
    assert not can_try(run, *sides)
    assert "no number of items is chosen" in caplog.text and "k=3, which the recipe names" in caplog.text


def test_a_plan_counts_with_the_most_items(finished: Finished) -> None:
    run = make_asking(finished.run)
    questions = put(run, BENCHMARK, "to plan with", make_question_table(QUESTIONS[:10]))
    with start_planning() as plan:
        sides = [set_aside.fn(run, questions, purpose=purpose) for purpose in ("tried", "scored")]
        assert can_try(run, *sides)
        retrieved = retrieve.fn(run, finished.index, sides[0])
        exam = finished.make_exam(questions=sides[0], retrieved=retrieved)
        trial = trial_of(run)
        tried = choose_k.fn(run, trial, exam, answer_benchmark.fn(trial.run, exam))
        assert with_chosen_k(run, tried).recipe.evaluation.k == max(AMONG)
    assert [line.stage for line in plan.stages] == [
        "set-aside", "set-aside", "retrieval", "predictions", "tried-k",
    ]  # fmt: skip
