"""CVQA, in Parquet files that are written here in the released schema."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def row(picture: Callable[..., bytes]) -> dict[str, Any]:
    return {
        "image": {"bytes": picture(), "path": "a.jpg"}, "ID": "5919991144272485961_0",
        "Subset": "('Chinese', 'China')", "Question": "这是什么？", "Translated Question": "What is this?",
        "Options": ["火锅", "饺子", "面条", "米饭"], "Translated Options": ["hot pot", "dumplings", "noodles", "rice"],
        "Label": 1, "Category": "Cooking and food", "Image Type": "Self", "Image Source": "Self-open",
        "License": "CC BY-SA",
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, write: Any, row: dict[str, Any], embedded: Any) -> Path:
    rows = [
        row,
        row | {"ID": "ar", "Subset": "('Egyptian_Arabic', 'Egypt')", "Question": "ما هذا؟", "Label": 0},
        row | {"ID": "sg", "Subset": "('Chinese', 'Singapore')", "Label": 3},
        row | {"ID": "hidden", "Label": -1},
        row | {"ID": "klingon", "Subset": "('Klingon', 'Kronos')"},
        row | {"ID": "odd", "Subset": "Chinese"},
    ]
    write.parquet(tmp_path / "data/test-00000-of-00010.parquet", rows, kinds={"image": embedded})
    return tmp_path


def test_questions_and_options_are_in_their_language_and_ask_for_a_number(
    folder: Path, reading: Callable[..., Any], row: dict[str, Any]
) -> None:
    found = reading("cvqa", folder, "test")
    chinese, arabic = found.questions[row["ID"]], found.questions["ar"]
    assert (chinese.language, chinese.split, chinese.attribute) == ("zh", "Chinese/China", "Cooking and food")
    assert (chinese.options[1], chinese.right_option, arabic.language) == ("饺子", 1, "arz")
    assert found.prompt(row["ID"]) == "这是什么？\n1. 火锅\n2. 饺子\n3. 面条\n4. 米饭\n请只回答正确选项的编号。"
    assert found.prompt("ar").endswith("4. 米饭\nAnswer with the number of the right option only.")
    assert found.percent(lambda _: "2") == 33.33
    assert found.reasons == {
        "hidden": "no_label", "klingon": "bad_row", "odd": "bad_row",
    }  # fmt: skip
    assert {each.question_id: each.split for each in found.missing}["hidden"] == "Chinese/China"


def test_the_five_subsets_of_the_paper_are_a_part(
    folder: Path, reading: Callable[..., Any], row: dict[str, Any]
) -> None:
    found = reading("cvqa", folder, "test_comem")
    assert set(found.questions) == {row["ID"]}
    assert set(found.reasons) == {"hidden", "klingon", "odd"}


def test_every_language_with_words_of_its_own_has_options_in_them(reading: Callable[..., Any], folder: Path) -> None:
    words = reading("cvqa", folder, "test").benchmark.wording.question
    assert set(words) == {"bg", "es", "pt", "ru", "zh", "*"}
    assert all(each.startswith("{question}\n{options}\n") for each in words.values())
