"""OK-VQA as released by its authors and as it is on the hub; files are written here in those schemas."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEN = ["surfing"] * 4 + ["surf"] * 2 + ["skating"] * 2 + ["swimming"] * 2
ASKED = [{"image_id": 42, "question_id": 425, "question": "What sport is this?"}]
ANNOTATED = [
    {"image_id": 42, "question_id": 425, "question_type": "four", "answer_type": "other",
     "answers": [{"answer_id": place, "answer": text, "raw_answer": f"the {text}", "answer_confidence": "yes"}
                 for place, text in enumerate(TEN)]},
]  # fmt: skip
QUESTIONS, ANNOTATIONS = "OpenEnded_mscoco_val2014_questions.json", "mscoco_val2014_annotations.json"
PROMPT = (
    "What sport is this?\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
    "Answer the question using a single word or phrase."
)


def test_the_authors_files_give_ten_processed_answers_and_cocos_picture(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    write.json(tmp_path / QUESTIONS, {"info": {}, "questions": ASKED})
    write.json(tmp_path / ANNOTATIONS, {"annotations": ANNOTATED})
    write.pictures(tmp_path / "val2014", {"COCO_val2014_000000000042.jpg": picture()})
    found = reading("okvqa", tmp_path, "val")
    question = found.questions["425"]
    assert (question.answers, question.attribute, question.image) == (tuple(TEN), "four", picture())
    assert found.prompt("425") == PROMPT
    # Leaving each of the ten out in turn: eight see two others who say "surf" (2/3), two see one (1/3)... by the rule
    # 8 x 2/3 + 2 x 1/3 = 6, of ten.
    assert (found.percent(lambda _: "surfing"), found.percent(lambda _: "Surf")) == (100.0, 60.0)


def test_the_hubs_files_give_the_same(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes], embedded: Any
) -> None:
    row = {"question_id": "425", "image": {"bytes": picture(), "path": "x.jpg"}, "question": "What sport is this?",
           "answers": TEN, "question_type": "four", "answer_type": "other"}  # fmt: skip
    short = row | {"question_id": "426", "answers": TEN[:9]}
    write.parquet(tmp_path / "data/val2014-00000-of-00002.parquet", [row], kinds={"image": embedded})
    write.parquet(tmp_path / "data/val2014-00001-of-00002.parquet", [short], kinds={"image": embedded})
    found = reading("okvqa", tmp_path, "val")
    question = found.questions["425"]
    assert (question.answers, question.attribute, question.image) == (tuple(TEN), "four", picture())
    assert found.prompt("425") == PROMPT
    assert found.reasons == {"426": "no_gold"} and found.missing[0].file == "val2014-00001-of-00002.parquet"


def test_what_is_missing_of_the_authors_files_is_said(tmp_path: Path, reading: Callable[..., Any], write: Any) -> None:
    write.json(tmp_path / QUESTIONS, {"questions": [*ASKED, {"image_id": 43, "question_id": 7, "question": "Why?"}]})
    with pytest.raises(ValueError, match=r"mscoco_val2014_annotations.json is missing"):
        reading("okvqa", tmp_path, "val")
    write.json(tmp_path / ANNOTATIONS, {"annotations": ANNOTATED})
    assert reading("okvqa", tmp_path, "val").reasons == {"425": "missing_image", "7": "bad_row"}
    write.json(tmp_path / QUESTIONS, {"annotations": []})
    with pytest.raises(ValueError, match="has no list `questions`"):
        reading("okvqa", tmp_path, "val")
