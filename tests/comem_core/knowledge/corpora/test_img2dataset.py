"""img2dataset's three layouts, with the names, columns and files that version 1.47 of the library wrote.

Rows are in the order in which their downloads ended. A failed row is in the table alone. Every picture has a `.json`
with its row, and a `.txt`, which is empty where the row had no caption.
"""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.corpora import ReadingOptions, open_corpus

TEXTS, SIZES = ("license", "caption", "url", "key", "status", "error_message"), ("width", "height")
SIZES_AND_ORIGINALS = (*SIZES, *(f"original_{name}" for name in SIZES))
SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXTS]
    + [(name, pa.int32()) for name in SIZES_AND_ORIGINALS]
    + [("exif", pa.string()), ("sha256", pa.string())]
)
GOT = dict.fromkeys(SIZES_AND_ORIGINALS, 256) | {"status": "success", "error_message": None, "exif": "{}"}
LOST = dict.fromkeys(SIZES_AND_ORIGINALS)
NOT_DECODED = LOST | {"status": "failed_to_resize", "error_message": "Image decoding error"}
NOT_FOUND = LOST | {"status": "failed_to_download", "error_message": "HTTP Error 404: File not found"}
SHARDS = {
    "00000": [("000000", GOT), ("000002", GOT), ("000004", NOT_DECODED), ("000001", GOT)],
    "00001": [("000010", NOT_FOUND), ("000012", GOT), ("000011", GOT | {"caption": None})],
}
CAPTIONS = {key: f"the caption of picture {key}, as written" for key in ("000000", "000001", "000002", "000012")}
KINDS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}


def make_rows(shard: str, encoded: str, picture) -> list[tuple[dict[str, Any], bytes | None]]:
    rows = []
    for key, fields in SHARDS[shard]:
        row = {"license": "CC0-1.0", "caption": CAPTIONS.get(key, "lost"), "url": f"http://example.org/{key}.png"}
        row |= {"key": key, "sha256": "0" * 64} | fields
        got = fields["status"] == "success"
        rows.append((row, picture(f"#0{key[-5:]}", kind=KINDS[encoded]) if got else None))
    return rows


def write_layout(folder: Path, layout: str, encoded: str, picture) -> None:
    """Write what img2dataset leaves in its output folder with this output format and format of pictures."""
    folder.mkdir()
    for shard in SHARDS:
        rows = make_rows(shard, encoded, picture)
        schema = SCHEMA.append(pa.field(encoded, pa.binary())) if layout == "parquet" else SCHEMA
        cells = [row | ({encoded: content} if layout == "parquet" else {}) for row, content in rows]
        pq.write_table(pa.Table.from_pylist(cells, schema=schema), folder / f"{shard}.parquet")
        stats = {"count": len(rows), "successes": sum(content is not None for _, content in rows), "status_dict": {}}
        (folder / f"{shard}_stats.json").write_text(json.dumps(stats, indent=4))
        files = {
            f"{row['key']}.{ending}": raw
            for row, content in rows
            if content is not None
            for ending, raw in (
                (encoded, content),
                ("json", json.dumps(row, indent=4).encode()),
                ("txt", (row["caption"] or "").encode()),
            )
        }
        if layout == "files":
            (folder / shard).mkdir()
            for name, raw in files.items():
                (folder / shard / name).write_bytes(raw)
        if layout == "webdataset":
            with tarfile.open(folder / f"{shard}.tar", "w") as tar:
                for name, raw in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(raw)
                    tar.addfile(member, io.BytesIO(raw))


@pytest.mark.parametrize("encoded", KINDS)
@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_each_sample_is_an_item_once_and_each_failure_has_its_reason(
    tmp_path: Path, picture, split, layout: str, encoded: str
):
    write_layout(tmp_path / "out", layout, encoded, picture)
    items, bad = split(tmp_path / "out")
    pictures = {row["key"]: raw for shard in SHARDS for row, raw in make_rows(shard, encoded, picture)}
    assert {item.text: item.image for item in items} == {CAPTIONS[key]: pictures[key] for key in CAPTIONS}
    assert {item.licence for item in items} == {"CC0-1.0"}
    reasons = [row.reason for row in bad if row.reason != "duplicate_id"]
    assert sorted(reasons) == ["missing_image", "missing_image", "missing_text"]
    assert len(bad) - len(reasons) == (0 if layout == "parquet" else 5)
    for file, row, detail in (
        ("00000.parquet", 3, "failed_to_resize, Image decoding error"),
        ("00001.parquet", 1, "failed_to_download, HTTP Error 404: File not found"),
    ):
        assert [each.detail.endswith(detail) for each in bad if (each.file, each.row) == (file, row)] == [True]
    corpus = open_corpus(str(tmp_path / "out"), reading=ReadingOptions())
    left_out = {each.file for each in corpus.list_files() if each.reason}
    assert left_out == {"00000_stats.json", "00001_stats.json"}


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_where_pictures_are_optional_a_failed_row_is_a_text(tmp_path: Path, picture, split, layout: str):
    write_layout(tmp_path / "out", layout, "jpg", picture)
    items, _ = split(tmp_path / "out", images="optional")
    assert sorted(item.text for item in items if item.image) == sorted(CAPTIONS.values())
    assert [(item.text, item.source) for item in items if not item.image] == [
        ("lost", "00000.parquet"),
    ]
