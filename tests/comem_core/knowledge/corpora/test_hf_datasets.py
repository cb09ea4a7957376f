"""Datasets as `save_to_disk` leaves them, written here with pyarrow as that does."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def save_to_disk(folder: Path, tables: list[pa.Table]) -> None:
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(tables):05d}.arrow" for number in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}}))


@pytest.fixture
def table(picture) -> pa.Table:
    pictures = [{"bytes": picture(f"#0000{number:02x}"), "path": None} for number in range(5)]
    columns = {"image": pa.array(pictures, PICTURE), "caption": [f"text {number}" for number in range(5)]}
    return pa.table(columns | {"embedding": pa.array([[0.5]] * 5)})


def test_all_files_of_a_dataset_are_read_in_order(tmp_path: Path, table: pa.Table, split):
    save_to_disk(tmp_path / "saved", [table.slice(0, 3), table.slice(3)])
    items, bad = split(tmp_path / "saved")
    assert [item.text for item in items] == [f"text {number}" for number in range(5)]
    assert {item.source for item in items} == {"data-00000-of-00002.arrow", "data-00001-of-00002.arrow"}
    assert bad == []


def test_all_splits_are_read(tmp_path: Path, table: pa.Table, split):
    save_to_disk(tmp_path / "saved/train", [table.slice(2)])
    save_to_disk(tmp_path / "saved/test", [table.slice(0, 2)])
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    items, _ = split(tmp_path / "saved")
    assert [item.text for item in items] == [f"text {number}" for number in (2, 3, 4, 0, 1)]


def test_what_is_no_saved_dataset_is_an_error(tmp_path: Path, split):
    (tmp_path / "state.json").write_text('{"epoch": 3}')
    with pytest.raises(ValueError, match=r"state\.json does not describe a dataset"):
        split(tmp_path)


@pytest.mark.parametrize("column", ["file_name", "image_file_name", "file_names", "images_file_names"])
def test_an_image_folder_names_its_pictures_in_any_column_that_datasets_reads(
    tmp_path: Path, picture, split, column: str
):
    rows = []
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(picture(f"#0000{number:02x}"))
        name = f"{number}.png"
        rows.append({column: [name] if column.endswith("s") else name, "text": f"text {number}"})
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    items, bad = split(tmp_path)
    assert [item.image for item in items] == [picture(f"#0000{number:02x}") for number in range(3)]
    assert bad == []
