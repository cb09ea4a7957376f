"""Schemas come from the migrated tables; rows are checked against them with the row and the key named."""

from __future__ import annotations

import pyarrow as pa
import pytest

from warehouse.schemas import check_rows, list_row_tables, make_schema

GOOD = {"question_id": "q", "item_ids": ["a", "b"], "scores": [0.5, 0.25], "seconds": 0.1}


def test_a_schema_is_that_of_the_table_without_the_artefact() -> None:
    expected = {"question_id": pa.string(), "item_ids": pa.list_(pa.string()), "scores": pa.list_(pa.float64())}
    expected |= {"seconds": pa.float64()}
    assert make_schema("retrieval") == pa.schema(expected.items())
    assert {"knowledge_item", "draft", "drop", "prediction", "score"} <= set(list_row_tables())
    assert "artefact" not in list_row_tables() and "run" not in list_row_tables()


def test_extra_columns_are_added_at_the_end_and_may_not_hide_one() -> None:
    assert make_schema("sample", extra={"image": pa.binary()}).names == ["sample_id", "image"]
    with pytest.raises(ValueError, match="already has the column 'sample_id'"):
        make_schema("sample", extra={"sample_id": pa.string()})
    with pytest.raises(ValueError, match="no table 'samples'"):
        make_schema("samples")


def test_rows_become_a_table_with_the_schema() -> None:
    assert check_rows("retrieval", [GOOD]).schema == make_schema("retrieval")
    assert check_rows("retrieval", []).num_rows == 0
    with_image = check_rows("sample", [{"sample_id": "s", "image": b"png"}], extra={"image": pa.binary()})
    assert with_image["image"].to_pylist() == [b"png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": None}, "row 1 of retrieval has no scores"),
        ({"scores": ["high"]}, "row 1 of retrieval: scores is list<item: double>, got"),
        ({"rank": 1}, "row 1 of retrieval has unknown rank; columns: question_id, item_ids, scores, seconds"),
    ],
)
def test_a_bad_row_is_named_with_its_key(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_rows("retrieval", [GOOD, GOOD | change])


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match="row 1 of retrieval lacks item_ids, scores, seconds"):
        check_rows("retrieval", [GOOD, {"question_id": "q"}])
