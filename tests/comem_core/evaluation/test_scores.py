"""Score rows and comparisons, from twelve questions about six flags in two languages."""

import random

import pytest

from comem_core.evaluation.metrics import Measure, Metric, Scored
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.evaluation.metrics.totals import HARMONIC, Total
from comem_core.evaluation.scores import Scoring, mark_rows, score_rows

QUESTIONS = [
    {
        "question_id": f"q{number:02}",
        "split": "unseen_entity" if number < 4 else "unseen_question",
        "question_type": "string",
        "language": "en" if number % 2 else "ar",
        "attribute": "capital",
        "image_id": f"flag {number // 2}",
        "answers": ["Cairo"],
        **dict.fromkeys(("answer_low", "answer_high", "options", "right_option", "entity_id")),
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
        "prediction_id": f"{condition} {k} {number}",
        "answer": "Cairo" if number in RIGHT[condition] else "" if number == 11 else "Tunis",
        "answer_raw": "",
        "prompt_tokens": 10 + number,
        "truncated": number == 10,
    }


PREDICTIONS = [prediction(condition, number) for condition in RIGHT for number in range(12)]


def score(predictions: list[dict] = PREDICTIONS, **how) -> list[dict]:
    scoring = Scoring(**{"metrics": (INFOSEEK,), "total": HARMONIC} | how)
    return score_rows(predictions, QUESTIONS, mark_rows(predictions, QUESTIONS, scoring.metrics), scoring)


def rows_by_key(rows: list[dict]) -> dict[tuple, dict]:
    return {(row["condition"], row["split"], row["metric"]): row for row in rows}


def test_scores_by_condition_and_split_are_those_worked_by_hand():
    rows = rows_by_key(score())
    assert len(rows) == 2 * 3 * 4
    assert rows["memory", "unseen_entity", "infoseek"]["value"] == 50.0
    assert rows["none", "unseen_question", "infoseek"]["value"] == 12.5
    assert rows["none", "all", "infoseek"]["value"] == 0.0  # harmonic, and one split is zero
    assert rows["memory", "all", "infoseek"]["value"] == 50.0
    memory = rows["memory", "all", "infoseek"]
    assert (memory["n"], memory["k"], memory["prompt_tokens_mean"]) == (12, 3, 15.5)
    assert (memory["low"], memory["high"]) == (None, None)  # two flags and four are too few


def test_ten_pictures_in_each_split_are_enough_for_an_interval():
    questions = [
        row | {"question_id": f"{row['question_id']} {copy}", "image_id": f"{row['image_id']} {copy}"}
        for copy in range(5)
        for row in QUESTIONS
    ]
    answers = [
        row | {"question_id": f"{row['question_id']} {copy}", "prediction_id": f"{row['prediction_id']} {copy}"}
        for copy in range(5)
        for row in PREDICTIONS
    ]
    scoring = Scoring(metrics=(INFOSEEK,), total=HARMONIC)
    rows = rows_by_key(score_rows(answers, questions, mark_rows(answers, questions, scoring.metrics), scoring))
    memory = rows["memory", "all", "infoseek"]
    assert memory["value"] == 50.0
    assert memory["low"] < 50 < memory["high"]


def test_rows_have_the_columns_of_the_score_table():
    expected = {"benchmark", "condition", "k", "split", "metric", "value", "low", "high", "n", "prompt_tokens_mean"}
    assert all(set(row) == expected for row in score(by=("language",)))


def test_truncated_and_unparsable_answers_are_counted():
    rows = rows_by_key(score())
    for metric in ("truncated", "unparsable"):
        assert rows["memory", "unseen_question", metric]["value"] == 12.5  # 1 of 8
        assert rows["memory", "unseen_entity", metric]["value"] == 0
        assert rows["memory", "all", metric]["low"] is None


def test_slices_are_made_on_request():
    rows = rows_by_key(score(by=("language", "attribute")))
    assert rows["none", "unseen_question/language=ar", "infoseek"]["value"] == 25.0  # of 4, 6, 8, 10: only 4
    assert rows["none", "unseen_question/language=en", "infoseek"]["value"] == 0.0
    assert rows["memory", "all/language=en", "infoseek"]["n"] == 6
    assert rows["memory", "all/attribute=capital", "infoseek"]["value"] == 50.0


def test_one_split_alone_has_no_final_score():
    rows = score(PREDICTIONS[:4])
    assert {row["split"] for row in rows} == {"unseen_entity"}


def test_the_order_of_predictions_changes_no_row():
    shuffled = PREDICTIONS.copy()
    random.Random(5).shuffle(shuffled)
    assert score(shuffled) == score()


def test_two_k_of_one_condition_are_two_groups():
    rows = score([*PREDICTIONS, *(prediction("memory", number, k=5) for number in range(12))])
    assert {(row["condition"], row["k"]) for row in rows} == {("none", 0), ("memory", 3), ("memory", 5)}


def test_unanswered_questions_are_left_out_or_wrong_as_named_and_coverage_tells():
    answered = [each for each in PREDICTIONS if each["question_id"] not in ("q04", "q05")]
    left_out, wrong = (rows_by_key(score(answered, unanswered=how)) for how in ("left_out", "wrong"))
    assert left_out["memory", "unseen_question", "infoseek"]["value"] == 33.33  # 2 of 6
    assert wrong["memory", "unseen_question", "infoseek"]["value"] == 25.0  # 2 of 8
    assert (left_out["memory", "all", "infoseek"]["n"], wrong["memory", "all", "infoseek"]["n"]) == (10, 12)
    assert left_out["memory", "unseen_question", "coverage"]["value"] == 75.0
    assert wrong["memory", "unseen_entity", "coverage"]["value"] == 100.0


def test_every_metric_has_rows_of_its_own():
    always = Metric(name="always", score=lambda answer, gold: Scored(1.0, unparsable=False))
    rows = rows_by_key(score(metrics=(INFOSEEK, always)))
    assert rows["none", "all", "always"]["value"] == 100.0
    assert rows["none", "unseen_question", "infoseek"]["value"] == 12.5


def test_groups_of_splits_have_scores_and_the_whole_is_made_of_them():
    """Of all 12 memory answers 6 are right, of none's 1: in a total of questions, splits carry weight by size."""
    by_question = rows_by_key(score(total=Total()))
    assert by_question["memory", "all", "infoseek"]["value"] == 50.0
    assert by_question["none", "all", "infoseek"]["value"] == 8.33  # 1 of 12
    mean = rows_by_key(score(total=Total(across="mean", groups={"entity": ("unseen_entity",)})))
    assert mean["none", "all", "infoseek"]["value"] == 6.25  # (0 + 12.5) / 2
    assert mean["none", "entity", "infoseek"]["n"] == 4


def test_predictions_that_cannot_be_scored_are_named():
    with pytest.raises(ValueError, match="answers 'q99'"):
        score([PREDICTIONS[0] | {"question_id": "q99"}])
    with pytest.raises(ValueError, match="two predictions of question 'q00'"):
        score([PREDICTIONS[0], PREDICTIONS[0]])
    with pytest.raises(ValueError, match="no predictions"):
        score([])


def judged(marks: dict[str, float], **how) -> list[dict]:
    scoring = Scoring(metrics=(INFOSEEK,), total=HARMONIC, judged=(Measure(name="judge:m"),), **how)
    own = [{"prediction_id": name, "metric": "judge:m", "value": value} for name, value in marks.items()]
    return score_rows(PREDICTIONS, QUESTIONS, mark_rows(PREDICTIONS, QUESTIONS, scoring.metrics) + own, scoring)


def test_a_judge_beside_changes_no_other_score_and_is_scored_on_what_it_marked():
    marks = {f"memory 3 {number}": float(number % 2) for number in range(3, 12)}
    rows = judged(marks)
    assert [row for row in rows if row["metric"] != "judge:m"] == score()
    found = {row["split"]: (row["value"], row["n"]) for row in rows if row["metric"] == "judge:m"}
    assert found == {"unseen_entity": (100.0, 1), "unseen_question": (50.0, 8), "all": (66.67, 9)}
    assert {row["condition"] for row in rows if row["metric"] == "judge:m"} == {"memory"}


def test_questions_without_an_answer_count_as_wrong_for_a_judge_too_where_they_do():
    marks = {f"memory 3 {number}": 1.0 for number in range(4)}
    few = [row for row in PREDICTIONS if row["prediction_id"] in marks]
    how = {"metrics": (INFOSEEK,), "total": HARMONIC, "unanswered": "wrong", "judged": (Measure(name="judge:m"),)}
    own = [{"prediction_id": name, "metric": "judge:m", "value": value} for name, value in marks.items()]
    rows = score_rows(few, QUESTIONS, mark_rows(few, QUESTIONS, (INFOSEEK,)) + own, Scoring(**how))
    found = {row["split"]: (row["value"], row["n"]) for row in rows if row["metric"] == "judge:m"}
    assert found["unseen_entity"] == (100.0, 4) and found["all"] == (0.0, 12)
