"""Two makings are compared row by row: what was changed on purpose is found, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_world import SmallWorld

from warehouse.__main__ import main
from warehouse.comparison import BOTH, KEYS, LEFT, RIGHT, DifferingRow, compare_folders, compare_rows, compare_stores
from warehouse.schemas import check_rows, list_row_tables, make_blank_row, make_schema


def drafts(*numbers: int) -> list[dict]:
    return [
        make_blank_row("draft")
        | {"sample_id": f"s{number}", "question": f"Q{number}?", "answer": "a", "item_ids": ["x", "y"], "seconds": 0.1}
        for number in numbers
    ]


def written(path: Path, rows: list[dict], table: str = "draft") -> list[Path]:
    pq.write_table(check_rows(table, rows), path)
    return [path]


def test_rows_in_another_order_and_slower_are_the_same(tmp_path: Path) -> None:
    left = written(tmp_path / "l.parquet", drafts(1, 2, 3))
    slower = [row | {"seconds": 9.0} for row in drafts(3, 1, 2)]
    parts = written(tmp_path / "r0.parquet", slower[:1]) + written(tmp_path / "r1.parquet", slower[1:])
    found = compare_rows("draft", left, parts)
    assert (found.num_left, found.num_right, found.num_equal, found.differences) == (3, 3, 3, ())
    assert str(found) == "draft: 3 and 3 rows, 3 equal"
    timed = compare_rows("draft", left, parts, ignore=())
    assert timed.columns() == {"seconds": 3} and timed.num_equal == 0


@pytest.mark.parametrize("table", KEYS)
def test_rows_of_every_table_are_the_same_as_themselves(tmp_path: Path, table: str) -> None:
    path, keys = tmp_path / "rows.parquet", KEYS[table]
    columns = {each.name: [_make_value(each) if each.name in keys else None] for each in make_schema(table)}
    pq.write_table(pa.table({each.name: pa.array(columns[each.name], each.type) for each in make_schema(table)}), path)
    assert compare_rows(table, [path], [path]).differences == ()


def _make_value(field: pa.Field) -> object:
    return "x" if pa.types.is_string(field.type) else 1


def test_changed_lost_added_and_doubled_rows_are_named(tmp_path: Path) -> None:
    left = written(tmp_path / "l.parquet", drafts(1, 2, 3, 4, 4))
    changed = drafts(1, 2, 4, 5)
    changed[1] |= {"answer": None, "item_ids": ["y", "x"]}
    found = compare_rows("draft", left, written(tmp_path / "r.parquet", changed))
    assert found.differences == (
        DifferingRow(("s2",), BOTH, ("answer", "item_ids")),
        DifferingRow(("s3",), LEFT),
        DifferingRow(("s4",), LEFT),
        DifferingRow(("s5",), RIGHT),
    )
    assert (found.num_left, found.num_right, found.num_equal) == (5, 4, 2)
    assert str(found) == (
        "draft: 5 and 4 rows, 2 equal, 1 differs, 2 left only, 1 right only (answer in 1, item_ids in 1)"
    )


def test_a_column_that_one_side_lacks_differs_where_the_other_has_a_value(tmp_path: Path) -> None:
    left = written(tmp_path / "l.parquet", drafts(1, 2))
    table = pq.read_table(left[0]).drop_columns(["answer", "model"])
    pq.write_table(table, tmp_path / "r.parquet")
    assert compare_rows("draft", left, [tmp_path / "r.parquet"]).columns() == {"answer": 2}


def test_a_store_made_again_is_compared_with_the_first(tmp_path: Path) -> None:
    for store, numbers, page in (("first", (1, 2), "page"), ("again", (1, 3), "other page")):
        for name in ("draft/aa", "report/bb") if store == "first" else ("draft/aa", "report/bb", "draft/new"):
            folder = tmp_path / store / name
            folder.mkdir(parents=True)
            (folder / "record.json").write_text(store)
            if name.startswith("draft"):
                written(folder / "part-00000.parquet", drafts(*numbers))
            else:
                (folder / "page.html").write_text(page)
    drafted, new, report = compare_stores(tmp_path / "first", tmp_path / "again")
    assert [each.key[0] for each in drafted.tables[0].differences] == ["s2", "s3"] and not drafted.same
    assert (new.fingerprint, new.known, new.same) == ("new", False, False)
    assert report.files == ("page.html",) and not report.same
    same = list(compare_stores(tmp_path / "first", tmp_path / "first"))
    assert same and all(each.same for each in same)


def test_every_table_of_rows_has_a_key_of_its_columns() -> None:
    assert set(KEYS) == set(list_row_tables())
    assert all(set(key) <= set(make_schema(table).names) for table, key in KEYS.items())


def test_folders_are_compared_table_by_table_and_the_command_says_so(
    world: SmallWorld, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    fingerprint = world.fingerprints["filter"]
    again = tmp_path / "again"
    shutil.copytree(world.store / "filter" / fingerprint, again)
    same = ["diff", "--database", str(world.database), fingerprint, str(again)]
    assert main(same) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["drop", "sample"]
    (path,) = again.glob("drop-00001.parquet")
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    assert main([*same, "--limit", "0"]) == 1
    lost = f"{table['sample_id'][0]} {table['reason'][0]}"
    assert "1 left only" in capsys.readouterr().out
    assert main(same) == 1 and f"  {lost}  left only" in capsys.readouterr().out
    drafts_folder = world.store / "synthesise" / world.fingerprints["synthesise"]
    with pytest.raises(ValueError, match="has no rows of drop, sample, but the other side has"):
        compare_folders(again, drafts_folder)
    assert main(["diff", "--database", str(world.database), "nowhere", fingerprint]) == 2
