"""The content hash sees what the rows say and nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.content import hash_content

ROWS = [{"name": f"n{number}", "value": number / 3, "tags": ["a", None], "seconds": 1.0} for number in range(50)]


def write(folder: Path, *parts: list[dict], compression: str = "snappy") -> str:
    folder.mkdir()
    for number, part in enumerate(parts):
        pq.write_table(pa.Table.from_pylist(part), folder / f"part-{number:05d}.parquet", compression=compression)
    return hash_content(folder, [path.name for path in folder.iterdir()])


def test_row_order_shards_compression_and_time_do_not_change_the_content(tmp_path: Path) -> None:
    slower = [{**dict(reversed(row.items())), "seconds": 9.0} for row in reversed(ROWS)]
    assert write(tmp_path / "a", ROWS) == write(tmp_path / "b", slower[:7], slower[7:], compression="gzip")


def test_a_changed_a_missing_and_a_doubled_row_change_the_content(tmp_path: Path) -> None:
    others = [[ROWS[0] | {"value": 0.1}, *ROWS[1:]], ROWS[1:], [*ROWS, ROWS[0]], [*ROWS, ROWS[0], ROWS[0]]]
    hashes = [write(tmp_path / str(number), rows) for number, rows in enumerate([ROWS, *others])]
    assert len(set(hashes)) == len(hashes)


def test_values_do_not_move_between_columns_or_types(tmp_path: Path) -> None:
    variants = [
        {"a": "1", "b": ""},
        {"a": "", "b": "1"},
        {"a": 1, "b": ""},
        {"a": None, "b": ""},
        {"a": '","', "b": ""},
    ]
    hashes = [write(tmp_path / str(number), [row]) for number, row in enumerate(variants)]
    assert len(set(hashes)) == len(hashes)


def test_pictures_and_other_files_count(tmp_path: Path) -> None:
    first = write(tmp_path / "a", [{"image": b"\x00\xff"}])
    assert first != write(tmp_path / "b", [{"image": b"\x00\xfe"}])
    (tmp_path / "a" / "weights.bin").write_bytes(b"1")
    second = hash_content(tmp_path / "a", ["part-00000.parquet", "weights.bin"])
    (tmp_path / "a" / "weights.bin").write_bytes(b"2")
    assert len({first, second, hash_content(tmp_path / "a", ["weights.bin", "part-00000.parquet"])}) == 3


def test_an_empty_shard_has_a_content(tmp_path: Path) -> None:
    empty = pa.Table.from_pylist([], schema=pa.schema({"name": pa.string()}))
    pq.write_table(empty, tmp_path / "part-00000.parquet")
    assert len(hash_content(tmp_path, ["part-00000.parquet"])) == 64
