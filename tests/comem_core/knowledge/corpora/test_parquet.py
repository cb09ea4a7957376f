"""Parquet files: pictures as bytes, structs and paths; missing values; large row groups."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.corpora import FoundItem, ReadingOptions, open_corpus


def test_pictures_are_bytes_structs_or_paths(tmp_path: Path, picture, split):
    (tmp_path / "flag.png").write_bytes(picture("green"))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    structs = [{"bytes": picture("red"), "path": "x.png"}, {"bytes": None, "path": "flag.png"}, None]
    table = pa.table({"photo_of_it": pa.array(structs, kind), "text": ["one", "two", "three"], "entity_id": [1, 2, 3]})
    pq.write_table(table, tmp_path / "structs.parquet")
    items, bad = split(tmp_path / "structs.parquet")
    assert [(item.image, item.entity_id) for item in items] == [(picture("red"), "1"), (picture("green"), "2")]
    assert [(row.row, row.reason) for row in bad] == [(3, "wrong_schema")]
    pq.write_table(pa.table({"image_bytes": [picture("red")], "caption": ["one"]}), tmp_path / "bytes.parquet")
    assert [item.image for item in split(tmp_path / "bytes.parquet")[0]] == [picture("red")]


def test_a_missing_value_never_becomes_a_word(tmp_path: Path, split):
    table = pa.table(
        {"text": ["one", None, "three"], "title": pa.array([float("nan")] * 3), "licence": [None, "", "l"]}
    )
    pq.write_table(table, tmp_path / "items.parquet")
    items, bad = split(tmp_path / "items.parquet", images="optional", language="en")
    assert [(item.text, item.title, item.licence) for item in items] == [("one", None, "unknown"), ("three", None, "l")]
    assert [(row.row, row.reason) for row in bad] == [(2, "missing_text")]


@pytest.mark.parametrize(("group", "size"), [(1000, 7), (50, 64), (64, 200), (13, 1)])
def test_pieces_may_begin_anywhere_in_a_row_group(tmp_path: Path, group: int, size: int):
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(300)]}), tmp_path / "a.parquet", row_group_size=group)
    corpus = open_corpus(str(tmp_path / "a.parquet"), reading=ReadingOptions(images="optional", language="en"))
    pieces = list(corpus.cut_into_pieces(size))
    for order in (pieces, pieces[::-1], pieces[1::2] + pieces[::2]):
        found = [row for piece in order for row in corpus.read(piece)]
        rows = sorted((row.row, row.item.text) for row in found if isinstance(row, FoundItem))
        assert rows == [(n + 1, f"row {n}") for n in range(300)]


def test_a_file_that_is_cut_off_is_named(tmp_path: Path, split):
    written = io.BytesIO()
    pq.write_table(pa.table({"text": ["one"]}), written)
    (tmp_path / "items.parquet").write_bytes(written.getvalue()[:-9])
    with pytest.raises(ValueError, match=r"items\.parquet is not a complete Parquet file"):
        split(tmp_path / "items.parquet")


@pytest.mark.parametrize("column", ["caption", "captions", "sentences"])
def test_several_captions_of_a_picture_are_one_text(tmp_path: Path, picture, split, column: str):
    captions = [["A dog.", " A brown dog. ", "A dog."], ["One."], ["", "Two."], [], [None, "Three."], None]
    pictures = [picture(f"#00{number:02x}00") for number in range(len(captions))]
    pq.write_table(pa.table({"image": pictures, column: captions}), tmp_path / "flickr.parquet")
    items, bad = split(tmp_path / "flickr.parquet", language="en")
    assert [item.text for item in items] == ["A dog.\nA brown dog.", "One.", "Two.", "Three."]
    assert [(row.row, row.reason) for row in bad] == [(4, "missing_text"), (6, "missing_text")]
    rows = [{"image": "0.png", column: ["Ten.", 11]}, {"image": "0.png", column: [{"raw": "Twelve."}]}]
    (tmp_path / "lists.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=r"row 1: wrong_schema: expected texts; text is list"):
        split(tmp_path / "lists.jsonl", language="en")


def test_labels_are_read_by_their_names_and_lists_of_one_picture_as_that_picture(tmp_path: Path, picture, split):
    """`datasets` stores a ClassLabel as a number and its names in the schema, and an Image as a struct."""
    kind = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    shown = [[{"bytes": picture(color), "path": None}] for color in ("red", "blue", "green")]
    columns = {
        "images": pa.array([*shown, shown[0] + shown[1], []], kind),
        "caption": [f"caption {n}" for n in range(5)],
    }
    table = pa.table(columns | {"language": pa.array([1, 0, -1, 0, 0], pa.int64())})
    features = {
        "language": {"names": ["en", "pt-BR"], "_type": "ClassLabel"},
        "caption": {"dtype": "string", "_type": "Value"},
    }
    described = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pq.write_table(table.replace_schema_metadata(described), tmp_path / "items.parquet")
    items, bad = split(tmp_path)
    assert [(item.image, item.language) for item in items] == [
        (picture("red"), "pt-BR"), (picture("blue"), "en"), (picture("green"), "en")
    ]  # fmt: skip
    assert [(row.row, row.reason) for row in bad] == [(4, "several_images"), (5, "missing_image")]
    assert bad[0].detail == "2 pictures, and an item has one; give each a row of its own"
