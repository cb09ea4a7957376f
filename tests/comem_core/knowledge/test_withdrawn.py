"""What was withdrawn is known to whoever opens the store, and holds for what comes later."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from comem_core.knowledge.withdrawn import (
    COLUMNS,
    WITHDRAWN,
    Withdrawal,
    find_withdrawn,
    list_pictures,
    list_withdrawn,
    read_withdrawals,
    remove_withdrawal,
    write_withdrawal,
)
from warehouse import lineage

BROKEN = ["", "[]", "{}", '{"by": "item"}', '{"by": "colour", "values": ["x"]', "[" * 100_000]
BROKEN += [
    json.dumps({"by": "item", "values": ["a"], "item_ids": [], "when": "2026", "reason": ""} | wrong)
    for wrong in ({"by": ["item"]}, {"when": 5}, {"values": "abc"}, {"values": [None]}, {"values": []}, {"more": 1})
]


def make(by: str, *values: str, item_ids: tuple[str, ...] = (), when: str = "2026-01-01T00:00:00+00:00") -> Withdrawal:
    return Withdrawal(by=by, values=values, item_ids=item_ids, when=when, reason="wrong: ü")


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("bucket")


def test_withdrawals_are_read_as_they_were_written_in_order_of_time_until_they_are_taken_back(store: str) -> None:
    assert read_withdrawals(store) == []
    later, first = make("item", "a" * 16, item_ids=("a" * 16,), when="2026-02-01T00:00:00+00:00"), make("source", "x")
    for each in (later, first, first):
        write_withdrawal(store, each)
    assert read_withdrawals(store) == [first, later]
    assert list_withdrawn(read_withdrawals(store)) == {"a" * 16}
    remove_withdrawal(store, later)
    remove_withdrawal(store, later)
    assert read_withdrawals(store) == [first]


def test_the_same_rule_has_one_name_in_any_order() -> None:
    assert make("source", "x", "y").name == make("source", "y", "x", item_ids=("0" * 16,)).name
    assert len({make("source", "x", "y").name, make("licence", "x", "y").name, make("source", "xy").name}) == 3


@pytest.mark.parametrize("content", BROKEN)
def test_a_damaged_withdrawal_is_an_error_and_never_forgotten(tmp_path: Path, content: str) -> None:
    write_withdrawal(tmp_path, make("image", "i"))
    [path] = (tmp_path / WITHDRAWN).iterdir()
    path.write_text(content)
    with pytest.raises(ValueError, match=path.name):
        read_withdrawals(tmp_path)


def test_a_file_that_was_renamed_is_an_error_because_it_could_not_be_taken_back(tmp_path: Path) -> None:
    write_withdrawal(tmp_path, make("image", "i"))
    [path] = (tmp_path / WITHDRAWN).iterdir()
    path.rename(path.with_name("other.json"))
    with pytest.raises(ValueError, match="name it as before"):
        read_withdrawals(tmp_path)


def test_a_withdrawal_by_something_unknown_is_an_error(tmp_path: Path) -> None:
    write_withdrawal(tmp_path, make("colour", "red"))
    with pytest.raises(ValueError, match="'colour'; expected one of item, image, licence, source"):
        read_withdrawals(tmp_path)


@pytest.mark.parametrize(("by", "value", "found"), [
    ("item", "0", "0"), ("image", "p", "02"), ("licence", "MIT", "12"), ("source", "s", "1"), ("source", "none", ""),
])  # fmt: skip
def test_items_are_found_by_each_of_their_columns_also_those_that_came_later(by: str, value: str, found: str) -> None:
    rows = [
        {"item_id": "0", "image_id": "p", "licence": "CC0", "source": "t"},
        {"item_id": "1", "image_id": None, "licence": "MIT", "source": "s"},
        {"item_id": "2", "image_id": "p", "licence": "MIT", "source": "t"},
    ]
    tables = [pa.Table.from_pylist(rows[:1]).cast(pa.schema([(name, pa.string()) for name in rows[0]])),
              pa.Table.from_pylist(rows[1:])]  # fmt: skip
    assert "".join(find_withdrawn(tables, [make(by, value)])) == found
    assert find_withdrawn(tables, [make(by, value), make("source", "gone", item_ids=("1",))]) == sorted({*found, "1"})
    assert find_withdrawn(tables, []) == []


def test_a_picture_is_hidden_only_where_it_was_withdrawn_itself() -> None:
    assert list_pictures([make("image", "p", "q"), make("item", "i"), make("source", "s")]) == {"p", "q"}


def test_items_are_chosen_by_the_same_columns_where_they_are_withdrawn_and_where_what_rests_on_them_is_listed() -> None:
    assert COLUMNS == lineage.COLUMNS
