"""The metric on InfoSeek's real validation annotations, English and five machine translations."""

import json
from pathlib import Path

import pytest

from comem_core.evaluation.metrics import Gold
from comem_core.evaluation.metrics.infoseek import INFOSEEK, score_answer
from comem_core.evaluation.metrics.totals import HARMONIC

FOLDER = Path(__file__).parents[3] / "../shared/fixtures/infoseek"
SUFFIXES = ("", "_bulgarian", "_chinese", "_portuguese", "_russian", "_spanish")

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no InfoSeek annotations at {FOLDER}")


def rows_of(suffix: str) -> list[dict]:
    with (FOLDER / f"infoseek_val{suffix}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def gold_of(row: dict) -> Gold:
    """The question type is not in the row: a numerical reference is an object, a time has digits only."""
    accepted = row["answer_eval"]
    if isinstance(accepted[0], dict):
        low, high = accepted[0]["range"]
        return Gold(question_type="numerical", answers=tuple(row["answer"]), answer_low=low, answer_high=high)
    kind = "time" if all(alias.isdigit() for alias in accepted) else "string"
    return Gold(question_type=kind, answers=tuple(accepted))


def final_score_of(rows: list[dict], answers: list[str]) -> float:
    splits: dict[str, list[float]] = {}
    for row, answer in zip(rows, answers, strict=True):
        splits.setdefault(row["data_split"], []).append(score_answer(answer, gold_of(row)).correct)
    assert sorted(splits) == ["val_unseen_entity", "val_unseen_question"]
    return HARMONIC.compute_percent(splits, INFOSEEK)


def gold_answer(row: dict) -> str:
    accepted = row["answer_eval"][0]
    return str(accepted["wikidata"]) if isinstance(accepted, dict) else accepted


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_gold_answers_score_100_and_answers_to_other_questions_score_low(suffix: str):
    rows = rows_of(suffix)
    answers = [gold_answer(row) for row in rows]
    assert len(rows) >= 4706
    assert final_score_of(rows, answers) == 100.0
    half = len(rows) // 2
    assert final_score_of(rows, answers[half:] + answers[:half]) < 5


def test_the_english_rows_are_as_described():
    rows = rows_of("")
    kinds = [gold_of(row).question_type for row in rows]
    assert len(rows) == 4708
    assert sum(row["data_split"] == "val_unseen_question" for row in rows) == 867
    assert kinds.count("numerical") == 443
    assert 200 < kinds.count("time") < 280


def test_every_canonical_numerical_answer_is_in_its_own_range():
    numerical = [row for row in rows_of("") if gold_of(row).question_type == "numerical"]
    right = [score_answer(row["answer"][0], gold_of(row)).correct for row in numerical]
    assert len(right) == 443
    assert sum(right) == 443
