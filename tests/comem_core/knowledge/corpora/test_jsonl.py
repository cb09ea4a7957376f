"""JSON Lines, good and bad."""

import base64
import gzip
from pathlib import Path


def test_a_row_says_everything_itself(tmp_path: Path, picture, write_jsonl, split):
    (tmp_path / "flag.png").write_bytes(picture())
    row = {"image": "flag.png", "text": "Флаг", "language": "ru", "source": "s", "licence": "l", "entity_id": "EG"}
    items, bad = split(write_jsonl(tmp_path / "items.jsonl", [row, "", row | {"text": "другой"}]))
    assert [(item.text, item.language, item.entity_id, item.title) for item in items] == [
        ("Флаг", "ru", "EG", None),
        ("другой", "ru", "EG", None),
    ]
    assert bad == []


def test_each_bad_row_is_named_with_its_line(tmp_path: Path, picture, write_jsonl, split):
    (tmp_path / "flag.png").write_bytes(picture())
    (tmp_path / "half.png").write_bytes(picture(size=(300, 300))[:200])
    good = {"image": "flag.png", "text": "t", "language": "en"}
    rows = [
        good,
        "{broken",
        ["a list"],
        good | {"text": 7},
        good | {"image": "gone.png"},
        good | {"image": "half.png"},
        good | {"image": 3},
        {"image": "flag.png", "language": "en"},
        good,
        good | {"text": ""},
        good | {"text": "another"},
        '{"image": "flag.png", "text": "half a letter: \\ud800"}',
        good | {"image": "data:image/png;base64,###", "text": "x"},
        "[" * 100_000,
        good | {"image": "", "text": "y"},
    ]
    items, bad = split(write_jsonl(tmp_path / "items.jsonl", rows))
    assert [item.text for item in items] == ["t", "another"]
    assert [(row.row, row.reason) for row in bad] == [
        (2, "wrong_schema"),
        (3, "wrong_schema"),
        (4, "wrong_schema"),
        (5, "missing_image"),
        (6, "unreadable_image"),
        (7, "wrong_schema"),
        (8, "wrong_schema"),
        (9, "duplicate_id"),
        (10, "missing_text"),
        (12, "wrong_schema"),
        (13, "unreadable_image"),
        (14, "wrong_schema"),
        (15, "missing_image"),
    ]
    details = {row.row: row.detail for row in bad}
    assert details[3] == "expected an object with image and text; found list"
    assert details[4] == "expected texts; text is int"
    assert details[8] == "missing text; found the fields image, language"
    assert {row.file for row in bad} == {"items.jsonl"}


def test_columns_go_by_other_names_too(tmp_path: Path, picture, write_jsonl, split):
    (tmp_path / "flag.png").write_bytes(picture())
    inline = "data:image/png;base64," + base64.b64encode(picture("blue")).decode()
    rows = [
        {"file_name": "flag.png", "Caption": "one", "LANG": "en", "License": "CC0-1.0", "wikidata-id": "Q1"},
        {"image": None, "img_path": "flag.png", "image_url": "https://example.org/a.png", "description": "two"},
        {"image": inline, "content": "three"},
    ]
    items, bad = split(write_jsonl(tmp_path / "items.ndjson", rows))
    assert bad == []
    assert [(item.text, item.licence, item.entity_id) for item in items] == [
        ("one", "CC0-1.0", "Q1"),
        ("two", "unknown", None),
        ("three", "unknown", None),
    ]
    assert items[2].image == picture("blue")
    corpus = write_jsonl(tmp_path / "own.jsonl", [{"bild": "flag.png", "beschreibung": "vier", "text": "not this"}])
    items, _ = split(corpus, columns=(("image", "bild"), ("text", "beschreibung")))
    assert [item.text for item in items] == ["vier"]


def test_a_packed_file_reads_as_the_plain_one(tmp_path: Path, write_jsonl, split):
    plain = write_jsonl(tmp_path / "items.jsonl", [{"text": f"text {n}"} for n in range(50)])
    (tmp_path / "packed").mkdir()
    packed = tmp_path / "packed/items.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    texts = [[item.text for item in split(path, images="optional")[0]] for path in (plain, packed)]
    assert texts[0] == texts[1] == [f"text {n}" for n in range(50)]


def test_a_picture_in_base64_is_a_picture_and_a_long_name_is_a_name(tmp_path: Path, picture, split, write_jsonl):
    raws = [picture("red"), picture("blue", kind="JPEG"), picture("green", kind="WEBP")]
    name = "b" * 80
    (tmp_path / name).write_bytes(raws[0])
    images = [base64.b64encode(raw).decode() for raw in raws] + [name, base64.b64encode(b"no picture " * 9).decode()]
    rows = [{"image": image, "text": f"text {place}", "language": "en"} for place, image in enumerate(images)]
    items, bad = split(write_jsonl(tmp_path / "t.jsonl", rows))
    assert [item.image for item in items] == [*raws, raws[0]]
    assert [(row.row, row.reason) for row in bad] == [(5, "missing_image")]
