"""A-OKVQA, direct answers and multiple choice, as released and as on the hub; files are written in those schemas."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROW = {
    "split": "val", "image_id": 299207, "question_id": "22MexNkBPpdZGX6sxbxVBH",
    "question": "What is the man by the bags awaiting?", "choices": ["skateboarder", "train", "delivery", "cab"],
    "correct_choice_idx": 3, "direct_answers": ["ride", "ride", "bus", "taxi", "travelling", "traffic", "taxi", "cab",
                                                "cab", "his ride"],
    "difficult_direct_answer": False, "rationales": ["a", "b", "c"],
}  # fmt: skip
DIFFICULT = ROW | {"question_id": "hard", "difficult_direct_answer": True, "correct_choice_idx": 0}
UNLABELLED = ROW | {"question_id": "none", "direct_answers": None, "correct_choice_idx": None}
ID = ROW["question_id"]


@pytest.fixture(params=["json", "parquet"])
def folder(
    request: pytest.FixtureRequest, tmp_path: Path, write: Any, picture: Callable[..., bytes], embedded: Any
) -> Path:
    """The same three rows in both forms; the hub shows lists of answers as text."""
    rows = [ROW, DIFFICULT, UNLABELLED]
    if request.param == "json":
        write.json(tmp_path / "aokvqa_v1p0_val.json", rows)
        write.pictures(tmp_path / "val2017", {"000000299207.jpg": picture()})
        return tmp_path
    on_hub = [
        {name: row[name] for name in ROW if name not in ("split", "image_id")}
        | {
            "image": {"bytes": picture(), "path": None},
            "direct_answers": repr(row["direct_answers"]) if row["direct_answers"] else None,
        }
        for row in rows
    ]
    write.parquet(tmp_path / "data/validation-00000-of-00001.parquet", on_hub, kinds={"image": embedded})
    return tmp_path


def test_direct_answers_are_those_of_people_and_difficult_questions_are_no_part(
    folder: Path, reading: Callable[..., Any], picture: Callable[..., bytes]
) -> None:
    found = reading("a-okvqa", folder, "val")
    assert set(found.questions) == {ID} and found.reasons == {"none": "no_gold"}
    question = found.questions[ID]
    assert (question.answers, question.options, question.image) == (tuple(ROW["direct_answers"]), (), picture())
    assert found.prompt(ID) == (
        "What is the man by the bags awaiting?\nAnswer the question using a single word or phrase, in lower case."
    )
    assert found.percent(lambda _: "taxi") == 66.67


def test_multiple_choice_asks_all_questions_for_a_choice_as_it_is_written(
    folder: Path, reading: Callable[..., Any]
) -> None:
    found = reading("a-okvqa-mc", folder, "val")
    assert set(found.questions) == {ID, "hard"} and found.reasons == {"none": "no_gold"}
    assert (found.questions[ID].right_option, found.questions["hard"].right_option) == (3, 0)
    assert found.prompt(ID) == (
        "What is the man by the bags awaiting?\nChoices:\nskateboarder\ntrain\ndelivery\ncab\n"
        "Answer with one of the choices, exactly as it is written."
    )
    assert found.percent(lambda _: "cab") == 50.0
    assert {found.benchmark.name, found.questions[ID].benchmark} == {"a-okvqa-mc"}
