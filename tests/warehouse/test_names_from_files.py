"""Names that a file brings are names in a query, and never a part of it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse.comparison import compare_rows
from warehouse.connection import open_warehouse
from warehouse.content import hash_content
from warehouse.history import restore_runs

ODD = ['a"b', "a'b", 'a", 1 AS "b', "select", "ä b", "a;b"]


def test_columns_of_any_name_are_compared(tmp_path: Path) -> None:
    for side in ("left", "right"):
        row = {"item_id": "1"} | {name: f"{side} {name}" for name in ODD}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{side}.parquet")
    compared = compare_rows("knowledge_item", [tmp_path / "left.parquet"], [tmp_path / "right.parquet"])
    assert compared.columns() == dict.fromkeys(ODD, 1)


def test_columns_of_any_name_count_for_the_content(tmp_path: Path) -> None:
    hashes = []
    for number, value in enumerate("xxy"):
        (tmp_path / str(number)).mkdir()
        pq.write_table(pa.Table.from_pylist([dict.fromkeys(ODD, value)]), tmp_path / str(number) / "a.parquet")
        hashes.append(hash_content(tmp_path / str(number), ["a.parquet"]))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    "content",
    [
        {"run": [{"run_id": "1", "recipe_name) VALUES ('x', 'y'); SELECT (1": "x"}]},
        {"run": [{"run_id": "1", "nothing_of_this_name": "x"}]},
        {"artefact": [{"fingerprint": "1"}]},
        {"run (run_id) VALUES ('x') --": [{"run_id": "1"}]},
    ],
)
def test_a_history_with_other_tables_or_columns_is_refused(tmp_path: Path, content: dict) -> None:
    (tmp_path / "1.json").write_text(json.dumps(content))
    with open_warehouse(tmp_path / "new.duckdb") as con:
        with pytest.raises(ValueError, match=r"1\.json has rows of .* with columns that the warehouse does not have"):
            restore_runs(con, tmp_path)
        assert con.execute("SELECT count(*) FROM run").fetchall() == [(0,)]
