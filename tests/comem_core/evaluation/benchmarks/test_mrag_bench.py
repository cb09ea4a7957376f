"""MRAG-Bench, in Parquet files that are written here in the released schema."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest


@pytest.fixture
def row(picture: Callable[..., bytes]) -> dict[str, Any]:
    others = [{"bytes": picture(shade), "path": None} for shade in (7, 8)]
    return {
        "id": "1", "aspect": "transformative", "scenario": "Temporal", "image": {"bytes": picture(), "path": "1.jpg"},
        "gt_images": others, "question": "Which car model is this?", "A": "Ford", "B": "Fiat", "C": "Opel",
        "D": "Seat", "answer_choice": "B", "answer": "Fiat", "image_type": "car", "source": "web",
        "retrieved_images": others,
    }  # fmt: skip


def test_the_options_are_a_to_d_and_the_prompt_is_the_official_one(
    tmp_path: Path, reading: Callable[..., Any], write: Any, row: dict[str, Any], embedded: Any
) -> None:
    kinds = {"image": embedded, "gt_images": pa.list_(embedded), "retrieved_images": pa.list_(embedded)}
    unlabelled, unnamed = row | {"id": "2", "answer_choice": "E"}, row | {"id": "3", "C": None}
    empty = row | {"id": "4", "image": {"bytes": None, "path": None}}
    write.parquet(tmp_path / "data/test-00000-of-000028.parquet", [row, unlabelled], kinds=kinds)
    write.parquet(tmp_path / "data/test-000010-of-000028.parquet", [unnamed, empty], kinds=kinds)
    found = reading("mrag-bench", tmp_path, "test")
    question = found.questions["1"]
    assert (question.options, question.right_option) == (("Ford", "Fiat", "Opel", "Seat"), 1)
    assert (question.attribute, question.split, question.image) == ("Temporal", "test", row["image"]["bytes"])
    assert found.prompt("1") == (
        "Answer with the option's letter from the given choices directly.\n"
        "Which car model is this?\n Choices:\nA: Ford\nB: Fiat\nC: Opel\nD: Seat"
    )
    assert found.reasons == {"2": "no_gold", "3": "bad_row", "4": "missing_image"}
    assert (found.percent(lambda _: "B"), found.percent(lambda _: "(A)")) == (100.0, 0.0)


def test_a_file_without_a_column_is_an_error(
    tmp_path: Path, reading: Callable[..., Any], write: Any, row: dict[str, Any], embedded: Any
) -> None:
    del row["answer_choice"]
    write.parquet(tmp_path / "test-0.parquet", [row], kinds={"image": embedded})
    with pytest.raises(ValueError, match=r"test-0.parquet has no column answer_choice; it has id, aspect"):
        reading("mrag-bench", tmp_path, "test")
    (tmp_path / "test-0.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(ValueError, match=r"test-0.parquet is not a complete Parquet file"):
        reading("mrag-bench", tmp_path, "test")
