"""Score rows and comparisons, from twelve questions about six flags in two languages."""

import random

import pytest

from comem_core.evaluation.scores import compare_conditions, score_rows

QUESTIONS = [
    {
        "question_id": f"q{number:02}",
        "split": "unseen_entity" if number < 4 else "unseen_question",
        "question_type": "string",
        "language": "en" if number % 2 else "ar",
        "attribute": "capital",
        "image_id": f"flag {number // 2}",
    }
    for number in range(12)
]
RIGHT = {"none": {4}, "memory": {0, 1, 4, 5, 6, 7}}  # none: 0 of 4 and 1 of 8; memory: 2 of 4 and 4 of 8


def prediction(condition: str, number: int, *, k: int = 3) -> dict:
    return {
        "benchmark": "atlas",
        "question_id": f"q{number:02}",
        "split": QUESTIONS[number]["split"],
        "condition": condition,
        "k": k if condition == "memory" else 0,
        "answer": "" if number == 11 else "Cairo",
        "correct": float(number in RIGHT[condition]),
        "prompt_tokens": 10 + number,
        "truncated": number == 10,
    }


PREDICTIONS = [prediction(condition, number) for condition in RIGHT for number in range(12)]


def rows_by_key(rows: list[dict]) -> dict[tuple, dict]:
    return {(row["condition"], row["split"], row["metric"]): row for row in rows}


def test_scores_by_condition_and_split_are_those_worked_by_hand():
    rows = rows_by_key(score_rows(PREDICTIONS, QUESTIONS))
    assert len(rows) == 2 * 3 * 3
    assert rows["memory", "unseen_entity", "infoseek"]["value"] == 50.0
    assert rows["none", "unseen_question", "infoseek"]["value"] == 12.5
    assert rows["none", "all", "infoseek"]["value"] == 0.0  # harmonic, and one split is zero
    assert rows["memory", "all", "infoseek"]["value"] == 50.0
    memory = rows["memory", "all", "infoseek"]
    assert (memory["n"], memory["k"], memory["prompt_tokens_mean"]) == (12, 3, 15.5)
    assert memory["low"] < 50 < memory["high"]


def test_rows_have_the_columns_of_the_score_table():
    expected = {"benchmark", "condition", "k", "split", "metric", "value", "low", "high", "n", "prompt_tokens_mean"}
    assert all(set(row) == expected for row in score_rows(PREDICTIONS, QUESTIONS, by=["language"]))


def test_truncated_and_unparsable_answers_are_counted():
    rows = rows_by_key(score_rows(PREDICTIONS, QUESTIONS))
    for metric in ("truncated", "unparsable"):
        assert rows["memory", "unseen_question", metric]["value"] == 12.5  # 1 of 8
        assert rows["memory", "unseen_entity", metric]["value"] == 0
        assert rows["memory", "all", metric]["low"] is None


def test_slices_are_made_on_request():
    rows = rows_by_key(score_rows(PREDICTIONS, QUESTIONS, by=["language", "attribute"]))
    assert rows["none", "unseen_question/language=ar", "infoseek"]["value"] == 25.0  # of 4, 6, 8, 10: only 4
    assert rows["none", "unseen_question/language=en", "infoseek"]["value"] == 0.0
    assert rows["memory", "all/language=en", "infoseek"]["n"] == 6
    assert rows["memory", "all/attribute=capital", "infoseek"]["value"] == 50.0


def test_one_split_alone_has_no_final_score():
    rows = score_rows(PREDICTIONS[:4], QUESTIONS)
    assert {row["split"] for row in rows} == {"unseen_entity"}


def test_the_order_of_predictions_changes_no_row():
    shuffled = PREDICTIONS.copy()
    random.Random(5).shuffle(shuffled)
    assert score_rows(shuffled, QUESTIONS) == score_rows(PREDICTIONS, QUESTIONS)


def test_two_k_of_one_condition_are_two_groups():
    more = [prediction("memory", number, k=5) for number in range(12)]
    rows = score_rows([*PREDICTIONS, *more], QUESTIONS)
    assert {(row["condition"], row["k"]) for row in rows} == {("none", 0), ("memory", 3), ("memory", 5)}
    with pytest.raises(ValueError, match="several k"):
        compare_conditions([*PREDICTIONS, *more], QUESTIONS, [("memory", "none")])


def test_conditions_are_compared_on_the_same_questions():
    rows = compare_conditions(PREDICTIONS, QUESTIONS, [("memory", "none"), ("none", "memory")])
    by_key = {(row["first"], row["split"]): row for row in rows}
    entity = by_key["memory", "unseen_entity"]
    assert (entity["difference"], entity["n"]) == (50.0, 4)
    assert entity["word"] == "tied"  # two flags cannot show a difference
    assert by_key["none", "unseen_entity"]["difference"] == -50.0
    assert entity["p_adjusted"] == pytest.approx(min(1, 2 * entity["p_value"]), abs=0.02)


def test_a_clear_difference_is_called_better():
    questions = [QUESTIONS[0] | {"question_id": f"q{number:02}", "image_id": str(number)} for number in range(40)]
    predictions = [
        PREDICTIONS[0] | {"question_id": f"q{number:02}", "condition": condition, "correct": right}
        for condition, right in (("memory", 1.0), ("none", 0.0))
        for number in range(40)
    ]
    rows = compare_conditions(predictions, questions, [("memory", "none"), ("none", "none")])
    assert [row["word"] for row in rows] == ["better", "tied"]


def test_only_common_questions_are_compared():
    rows = compare_conditions(PREDICTIONS[:4] + PREDICTIONS[14:], QUESTIONS, [("memory", "none")])
    assert [(row["split"], row["n"]) for row in rows] == [("unseen_entity", 2)]


def test_predictions_that_cannot_be_scored_are_named():
    with pytest.raises(ValueError, match="answers 'q99'"):
        score_rows([PREDICTIONS[0] | {"question_id": "q99"}], QUESTIONS)
    with pytest.raises(ValueError, match="two predictions of question 'q00'"):
        score_rows([PREDICTIONS[0], PREDICTIONS[0]], QUESTIONS)
    with pytest.raises(ValueError, match="no predictions"):
        score_rows([], QUESTIONS)
    with pytest.raises(ValueError, match="condition 'oracle'; there are memory, none"):
        compare_conditions(PREDICTIONS, QUESTIONS, [("oracle", "none")])
    with pytest.raises(ValueError, match="no question in common"):
        compare_conditions(PREDICTIONS[:2] + PREDICTIONS[20:], QUESTIONS, [("memory", "none")])
