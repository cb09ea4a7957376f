"""What is written for the official evaluators, read back as they read it."""

import csv
import io
import json
from typing import Any

import pytest

from comem_core.evaluation.submissions import write_submission


def row(question_id: str, answer: str | None, **columns: Any) -> dict[str, Any]:
    empty = {
        "question": "what?",
        "question_type": "string",
        "answers": ["gold"],
        "answer_low": None,
        "answer_high": None,
        "options": [],
        "right_option": None,
        "entity_id": None,
        "attribute": None,
        "answer_raw": answer,
    }
    return empty | {"question_id": question_id, "answer": answer} | columns


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_infoseek_is_json_lines():
    files = write_submission(
        "infoseek", [row("infoseek_val_00000070", "Île d'Yeu"), row("infoseek_val_00000074", None)]
    )
    assert lines_of(files["infoseek_predictions.jsonl"]) == [
        {"data_id": "infoseek_val_00000070", "prediction": "Île d'Yeu"},
        {"data_id": "infoseek_val_00000074", "prediction": ""},
    ]


def test_a_language_has_its_own_file_under_the_released_ids():
    rows = [row("bg/infoseek_val_00000070", "САЩ"), row("zh/infoseek_val_00000070", "美国")]
    files = write_submission("infoseek-multilingual", rows)
    assert sorted(files) == ["infoseek_predictions_bg.jsonl", "infoseek_predictions_zh.jsonl"]
    assert lines_of(files["infoseek_predictions_zh.jsonl"]) == [
        {"data_id": "infoseek_val_00000070", "prediction": "美国"}
    ]


def test_oven_has_answers_and_entities_in_one_file_a_split():
    rows = [row("oven_query_val_00000001", "gull"), row("oven_entity_val_00000002", "")]
    files = write_submission("oven", rows, find_entity={"gull": "Q25354", "": "Q1"}.__getitem__)
    assert lines_of(files["oven_query_predictions.jsonl"]) == [
        {"data_id": "oven_query_val_00000001", "prediction": "gull", "pred_entity_id": "Q25354"}
    ]
    assert lines_of(files["oven_entity_predictions.jsonl"]) == [
        {"data_id": "oven_entity_val_00000002", "prediction": "", "pred_entity_id": "Q1"}
    ]
    with pytest.raises(ValueError, match="give find_entity"):
        write_submission("oven", rows)
    with pytest.raises(ValueError, match="expected oven_query_"):
        write_submission("oven", [row("infoseek_val_00000070", "gull")], find_entity={"gull": "Q25354"}.__getitem__)


def test_okvqa_is_a_list_with_numbers_as_ids():
    (text,) = write_submission("okvqa", [row("2971475", "ski")]).values()
    assert json.loads(text) == [{"question_id": 2971475, "answer": "ski"}]


def test_a_okvqa_has_one_file_a_setting():
    assert json.loads(write_submission("a-okvqa", [row("22MexN", "ski")])["aokvqa_direct_answer_predictions.json"]) == {
        "22MexN": {"direct_answer": "ski"}
    }
    (text,) = write_submission("a-okvqa-mc", [row("22MexN", "bus")]).values()
    assert json.loads(text) == {"22MexN": {"multiple_choice": "bus"}}


def test_viquae_is_the_two_lists_of_meerqat():
    (text,) = write_submission("viquae", [row("q1", "Ringo", answers=["Ringo Starr", "Ringo"])]).values()
    assert json.loads(text) == {"predictions": ["Ringo"], "references": [["Ringo Starr", "Ringo"]]}


def test_mrag_bench_has_all_that_was_written():
    options = {"options": ["tern", "gull"], "right_option": 1, "attribute": "Angle", "question": "Which bird?"}
    (text,) = write_submission("mrag-bench", [row("12", "B", answer_raw="It is (B).", **options)]).values()
    assert lines_of(text) == [
        {
            "qs_id": "12",
            "prompt": "Which bird?\n Choices:\nA: tern\nB: gull",
            "output": "It is (B).",
            "gt_answer": "gull",
            "gt_choice": "B",
            "scenario": "Angle",
        }
    ]


def test_cvqa_is_a_table_of_places():
    options = {"options": ["a", "b", "c", "d"], "right_option": 0}
    rows = [row("59_0", "2", **options), row("59_1", "D. d", **options), row("59_2", "none", **options)]
    (text,) = write_submission("cvqa", rows).values()
    assert list(csv.reader(io.StringIO(text))) == [["ID", "Prediction"], ["59_0", "1"], ["59_1", "3"], ["59_2", "-1"]]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_a_spreadsheet_would_run_is_quoted_and_a_number_is_not(begin: str):
    options = {"options": ["a", "b"], "right_option": 0}
    rows = [row(f'{begin}SUM(1,2)&"x"', "none", **options), row("a=b", "1", **options)]
    (text,) = write_submission("cvqa", rows).values()
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [["ID", "Prediction"], [f'\'{begin}SUM(1,2)&"x"', "-1"], ["a=b", "0"]]


def test_what_cannot_be_submitted_is_said():
    with pytest.raises(ValueError, match=r"known for 'own'; known are a-okvqa, a-okvqa-mc, cvqa, infoseek"):
        write_submission("own", [])
    with pytest.raises(ValueError, match="one condition and one k at a time"):
        write_submission("infoseek", [row("q", "a"), row("q", "b")])
