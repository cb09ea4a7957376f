"""Folders of pictures with texts beside them: several languages, odd names, and everything that can be wrong."""

from pathlib import Path


def lay(folder: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_a_folder_gives_one_item_an_image_with_its_text(tmp_path: Path, picture, split):
    files = {"a.png": picture("red"), "a.txt": "\ufeffعلم مصر\n", "README.md": "not looked at"}
    files |= {"deep/b.JPG": picture("blue", kind="JPEG"), "deep/b.TXT": "日本の旗"}
    items, bad = split(lay(tmp_path, files), language="en", source="my photos", licence="CC0-1.0")
    assert bad == []
    assert [(item.text, item.language, item.source, item.licence) for item in items] == [
        ("علم مصر", "en", "my photos", "CC0-1.0"),
        ("日本の旗", "en", "my photos", "CC0-1.0"),
    ]
    assert items[0].image == picture("red")  # nothing to do, so the very same bytes


def test_a_folder_lists_its_bad_rows_and_goes_on(tmp_path: Path, picture, split):
    files = {"a.png": b"not a picture", "a.txt": "text", "b.png": picture(), "c.txt": "text without an image"}
    files |= {"d.png": picture(), "d.txt": "the good one", "e.png": picture(), "e.txt": "the good one"}
    files |= {"f.png": picture(), "f.txt": "naïve".encode("latin-1"), "g.png": picture(), "g.txt": "  \n"}
    files |= {"h.png": b"", "h.txt": "an empty file", "sub/i.png": picture()}
    items, bad = split(lay(tmp_path, files))
    assert [item.text for item in items] == ["the good one"]
    assert [(row.file, row.row, row.reason) for row in bad] == [
        ("a.png", 1, "unreadable_image"),
        ("b.png", 2, "missing_text"),
        ("e.png", 4, "duplicate_id"),
        ("f.png", 5, "wrong_schema"),
        ("g.png", 6, "missing_text"),
        ("h.png", 7, "unreadable_image"),
        ("c.txt", 8, "missing_image"),
        ("sub/i.png", 9, "missing_text"),
    ]
    assert bad[2].detail == "the same image, text and language as d.png row 3"


def test_one_image_may_have_texts_in_several_languages(tmp_path: Path, picture, split):
    files = {"a.png": picture(), "a.en.txt": "a flag", "a.de.txt": "eine Flagge", "a.pt-BR.txt": "uma bandeira"}
    files |= {"b.png": picture("blue"), "b.txt": "drapeau bleu et rien de plus", "b.en.txt": "a blue flag"}
    files |= {"c.png": picture("green"), "c.de.png": picture("#123456"), "c.txt": "green", "c.de.txt": "of c.de.png"}
    items, bad = split(lay(tmp_path, files))
    assert bad == []
    found = {(item.text, item.language) for item in items}
    assert {("a flag", "en"), ("eine Flagge", "de"), ("uma bandeira", "pt-BR"), ("a blue flag", "en")} <= found
    assert ("drapeau bleu et rien de plus", "fr") in found
    assert len({item.image_id for item in items if item.text in ("a flag", "eine Flagge", "uma bandeira")}) == 1
    assert [item.text for item in items if item.image == picture("#123456")] == ["of c.de.png"]
    assert len(items) == 7


def test_a_json_file_says_what_is_known_of_an_image(tmp_path: Path, picture, split):
    described = '{"caption": "a red flag", "lang": "en", "license": "CC0-1.0", "qid": "Q1", "title": "Red", "h": 8}'
    files = {"a.png": picture(), "a.json": described, "b.png": picture("blue"), "b.json": '{"licence": "MIT"}'}
    files |= {"b.txt": "a blue flag of some kind", "c.png": picture("green"), "c.json": "{broken", "package.json": "{}"}
    files |= {"d.jpg": picture(kind="JPEG"), "d.jpg.txt": "a JPEG"}
    items, bad = split(lay(tmp_path, files))
    assert [(item.text, item.licence, item.entity_id, item.title, item.source) for item in items] == [
        ("a red flag", "CC0-1.0", "Q1", "Red", "a.png"),
        ("a blue flag of some kind", "MIT", None, None, "b.png"),
        ("a JPEG", "unknown", None, None, "d.jpg"),
    ]
    assert [(row.file, row.reason) for row in bad] == [("c.png", "wrong_schema")]


def test_content_decides_what_a_file_is(tmp_path: Path, picture, split):
    files = {"a.png": picture("red", kind="JPEG"), "a.txt": "a JPEG named PNG", "b": picture("blue"), "b.txt": "no end"}
    files |= {
        "c.dat": picture("green", kind="WEBP"),
        "c.txt": "an odd ending",
        "d.bin": b"no picture",
        "d.txt": "alone",
    }
    files |= {"e.svg": "<svg/>", "notes.xlsx": b"PK", ".hidden.png": picture(), ".hidden.txt": "h", ".git/f.png": b"x"}
    files |= {"u.png": picture("gray"), "u.txt": "in two bytes a letter".encode("utf-16")}
    items, bad = split(lay(tmp_path, files))
    expected = ["a JPEG named PNG", "no end", "an odd ending", "in two bytes a letter"]
    assert [item.text for item in items] == expected
    assert [(row.file, row.reason) for row in bad] == [("d.txt", "missing_image")]


def test_texts_alone_are_items_where_pictures_are_optional(tmp_path: Path, picture, split):
    files = {"a.png": picture(), "a.txt": "both", "b.txt": "alone", "notes/c.md": "# A page", "d.png": picture("blue")}
    items, bad = split(lay(tmp_path, files), images="optional")
    assert [(item.text, item.image is None) for item in items] == [("both", False), ("alone", True), ("# A page", True)]
    assert [(row.file, row.reason) for row in bad] == [("d.png", "missing_text")]
    items, _ = split(tmp_path / "b.txt", images="optional")
    assert [item.text for item in items] == ["alone"]


def test_pictures_of_tables_are_not_rows_of_their_own(tmp_path: Path, picture, split):
    files = {"items.csv": "file_name,caption\nimages/a.png,from the table\n", "images/a.png": picture()}
    files |= {"images/b.png": picture("blue"), "images/b.txt": "from beside"}
    items, bad = split(lay(tmp_path, files))
    assert [item.text for item in items] == ["from beside", "from the table"]
    assert bad == []


def test_a_name_that_is_no_text_is_read_and_shown(tmp_path: Path, picture, split):
    (tmp_path / "a\udcff.png").write_bytes(picture())
    (tmp_path / "a\udcff.txt").write_text("odd name")
    items, bad = split(tmp_path)
    assert [(item.text, item.source) for item in items] == [("odd name", "a\ufffd.png")]
    assert bad == []
