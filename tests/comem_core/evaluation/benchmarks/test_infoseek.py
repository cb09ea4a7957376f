"""InfoSeek in English and in five translations, over the real annotation files with a handful of pictures."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comem_core.evaluation.benchmarks import MissingQuestion
from comem_core.evaluation.benchmarks.infoseek import make_gold
from comem_core.knowledge.items import Question

REAL = Path(__file__).parents[4] / "../shared/fixtures/infoseek"
LANGUAGES = {"bg": "bulgarian", "zh": "chinese", "pt": "portuguese", "ru": "russian", "es": "spanish"}
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no InfoSeek annotations at {REAL}")


def real_rows(suffix: str = "") -> list[dict]:
    return [json.loads(line) for line in (REAL / f"infoseek_val{suffix}.jsonl").open(encoding="utf-8")]


def copied(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        shutil.copy(REAL / name, folder / name)
    return folder


def gold(question: Question) -> str:
    return str(question.answer_low) if question.question_type == "numerical" else question.answers[0]


ROWS = [
    {"data_id": "a", "image_id": "oven_1", "question": "Capital?", "answer": ["Rome"],
     "answer_eval": ["Rome", "Roma"], "data_split": "val_unseen_question"},
    {"data_id": "b", "image_id": "oven_2", "question": "Length?", "answer": ["10"],
     "answer_eval": [{"wikidata": 10.0, "range": [9.0, 11.0]}], "data_split": "val_unseen_entity"},
    {"data_id": "c", "image_id": "oven_2", "question": "Year?", "answer": ["1999"],
     "answer_eval": ["1999", "2000"], "data_split": "val_unseen_entity"},
]  # fmt: skip


def test_a_number_may_be_an_object_alone() -> None:
    listed, alone = make_gold(ROWS[1]), make_gold(ROWS[1] | {"answer_eval": ROWS[1]["answer_eval"][0]})
    assert alone == listed and (alone["answer_low"], alone["answer_high"]) == (9.0, 11.0)


@real
def test_every_real_row_is_a_question_or_missing_and_the_official_score_of_gold_is_100(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    rows = real_rows()
    there = {row["image_id"] for row in rows[::400]}
    folder = copied(tmp_path / "infoseek", "infoseek_val.jsonl")
    write.pictures(folder / "images/05", {f"{image_id}.JPEG": picture() for image_id in there})
    found = reading("infoseek", folder, "val")
    askable = {row["data_id"] for row in rows if row["image_id"] in there}
    assert set(found.questions) == askable and len(askable) >= 12
    assert found.counts == {"missing_image": 4708 - len(askable)}
    assert found.percent(gold) == 100.0
    assert found.percent(lambda question: "nothing of the kind") == 0.0
    lines = {each.question_id: each.row for each in found.missing}
    assert all(rows[line - 1]["data_id"] == question_id for question_id, line in lines.items())
    assert {each.split for each in found.missing} == {"unseen_question", "unseen_entity"}


@real
def test_real_questions_keep_their_id_split_and_kind(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    folder = copied(tmp_path / "infoseek", "infoseek_val.jsonl")
    write.pictures(folder, {f"{row['image_id']}.jpg": picture() for row in real_rows()})
    found = reading("infoseek", folder, "val")
    assert len(found.questions) == 4708 and not found.missing
    first = found.questions["infoseek_val_00000070"]
    assert (first.split, first.question_type, first.attribute) == ("unseen_question", "string", "string")
    assert "Murica" in first.answers[11] and first.language == "en"
    kinds = [question.attribute for question in found.questions.values()]
    assert (kinds.count("numerical"), len(kinds) - kinds.count("string") - 443) == (443, kinds.count("time"))
    assert 200 < kinds.count("time") < 280
    assert found.percent(gold) == 100.0


@real
def test_the_real_translations_have_ids_splits_and_groups_of_their_language(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    folder = copied(tmp_path / "f", *(f"infoseek_val_{name}.jsonl" for name in LANGUAGES.values()))
    write.pictures(folder, {"oven_05001186.jpg": picture()})
    found = reading("infoseek-multilingual", folder, "val")
    assert len(found.yielded) == 4 * 4708 + 4706 == len({each.question_id for each in found.yielded})
    assert found.counts == {"missing_image": len(found.yielded) - len(found.questions)}
    assert {"bg/infoseek_val_00000070", "zh/infoseek_val_00000070"} <= set(found.questions)
    russian = found.questions["ru/infoseek_val_00000070"]
    assert (russian.language, russian.split, russian.question_type) == ("ru", "ru/unseen_question", "string")
    assert russian.answers[0] == "США" and found.prompt("ru/infoseek_val_00000070") == russian.question
    assert found.percent(gold) == 100.0
    assert found.percent(lambda question: gold(question) if question.language == "ru" else "?") == 20.0


@real
def test_types_of_translations_are_those_of_the_english_questions(tmp_path: Path, reading: Callable[..., Any]) -> None:
    names = [f"infoseek_val_{name}.jsonl" for name in LANGUAGES.values()]
    folder = copied(tmp_path / "f", *names, "infoseek_val.jsonl")
    found = reading("infoseek-multilingual", folder, "val")
    assert found.counts == {"missing_image": 4 * 4708 + 4706}


def test_official_types_and_entities_are_used_where_their_files_are(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    write.lines(tmp_path / "deep/infoseek_val.jsonl", ROWS)
    kinds = [("a", "String"), ("b", "Numerical"), ("c", "String")]
    write.lines(
        tmp_path / "infoseek_val_qtype.jsonl", [{"data_id": name, "question_type": kind} for name, kind in kinds]
    )
    write.lines(
        tmp_path / "infoseek_val_withkb.jsonl",
        [{"data_id": "a", "entity_id": "Q220", "entity_text": "Rome"}, {"data_id": "b"}],
    )
    write.pictures(tmp_path / "images", {"oven_1.jpg": picture(), "oven_2.png": picture(2, "PNG")})
    found = reading("infoseek", tmp_path, "val")
    assert {name: each.attribute for name, each in found.questions.items()} == {
        "a": "string", "b": "numerical", "c": "string",
    }  # fmt: skip
    assert {name: each.entity_id for name, each in found.questions.items()} == {"a": "Q220", "b": None, "c": None}
    assert (found.questions["b"].answer_low, found.questions["b"].answer_high) == (9.0, 11.0)


def test_a_row_that_is_no_question_is_counted_with_its_reason_and_place(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    bad = [
        ROWS[0] | {"question": "Again?"},
        ROWS[0] | {"data_id": "d", "data_split": "train"},
        ROWS[0] | {"data_id": "e", "answer": [], "answer_eval": [" "]},
        {key: value for key, value in ROWS[0].items() if key != "data_id"},
        "{no json",
        "[1, 2]",
        ROWS[0] | {"data_id": "f", "question": "  "},
        ROWS[0] | {"data_id": "g", "image_id": "oven_9"},
        ROWS[0] | {"data_id": "h", "image_id": "oven_3"},
    ]
    write.lines(tmp_path / "infoseek_val.jsonl", [*ROWS, *bad])
    write.pictures(tmp_path, {"oven_1.jpg": picture(), "oven_2.jpg": picture(2), "oven_3.jpg": b"no picture"})
    found = reading("infoseek", tmp_path, "val")
    assert set(found.questions) == {"a", "b", "c"} and found.questions["a"].question == "Capital?"
    assert sorted((each.row, each.question_id, each.reason) for each in found.missing) == [
        (4, "a", "duplicate_id"),
        (5, "d", "bad_row"),
        (6, "e", "no_gold"),
        (7, "infoseek_val.jsonl:7", "bad_row"),
        (8, "infoseek_val.jsonl:8", "bad_row"),
        (9, "infoseek_val.jsonl:9", "bad_row"),
        (10, "f", "bad_row"),
        (11, "g", "missing_image"),
        (12, "h", "unreadable_image"),
    ]
    assert all(each.file == "infoseek_val.jsonl" and each.detail for each in found.missing)
    assert isinstance(found.missing[0], MissingQuestion)


@pytest.mark.parametrize("golds", [["the"], ["...", "An"], ["", "a"], ["°"]])
def test_gold_answers_that_say_nothing_are_refused_by_name_with_their_row(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes], golds: list[str]
) -> None:
    letter = ROWS[0] | {"data_id": "letter", "answer": ["A"], "answer_eval": ["A"]}
    write.lines(tmp_path / "infoseek_val.jsonl", [*ROWS, letter, ROWS[0] | {"data_id": "d", "answer_eval": golds}])
    write.pictures(tmp_path, {"oven_1.jpg": picture(), "oven_2.jpg": picture(2)})
    found = reading("infoseek", tmp_path, "val")
    assert set(found.questions) == {"a", "b", "c", "letter"}
    [missing] = found.missing
    assert (missing.question_id, missing.row, missing.reason) == ("d", 5, "no_gold")
    assert missing.detail == f"no accepted answer says anything: {golds}"


def test_a_question_without_its_official_type_is_missing(
    tmp_path: Path, reading: Callable[..., Any], write: Any
) -> None:
    write.lines(tmp_path / "infoseek_val.jsonl", ROWS)
    write.lines(tmp_path / "infoseek_val_qtype.jsonl", [{"data_id": "a", "question_type": "Numerical"}])
    assert reading("infoseek", tmp_path, "val").reasons == {
        "a": "bad_row", "b": "no_question_type", "c": "no_question_type",
    }  # fmt: skip


def test_a_missing_language_is_an_error_that_names_the_file(
    tmp_path: Path, reading: Callable[..., Any], write: Any
) -> None:
    write.lines(tmp_path / "infoseek_val_bulgarian.jsonl", ROWS)
    said = r"looked for infoseek_val_chinese.jsonl; .*infoseek_val_spanish.jsonl; found infoseek_val_bulgarian.jsonl\."
    with pytest.raises(ValueError, match=said):
        reading("infoseek-multilingual", tmp_path, "val")
