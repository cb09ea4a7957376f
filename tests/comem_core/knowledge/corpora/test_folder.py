"""Folders of pictures with texts beside them: several languages, odd names, and everything that can be wrong."""

import io
import json
import tarfile
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.corpora import ReadingOptions, open_corpus


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


def list_left_out(corpus: Path, *roots: Path) -> dict[str, str]:
    opened = open_corpus(str(corpus), reading=ReadingOptions(roots=tuple(map(str, roots))))
    return {each.file: each.reason for each in opened.list_files() if each.reason}


def count_read(corpus: Path) -> dict[str, int]:
    return {each.file: each.num_files for each in open_corpus(str(corpus)).list_files() if not each.reason}


def test_a_table_hides_no_picture_that_it_does_not_name(tmp_path: Path, picture, split):
    files = {
        "a.png": picture(),
        "a.txt": "a pump",
        "b.png": picture("blue"),
        "c.png": picture("green"),
        "d.txt": "a text",
    }
    alone = split(lay(tmp_path, files))[1]
    assert [(row.file, row.reason) for row in alone] == [
        ("b.png", "missing_text"), ("c.png", "missing_text"), ("d.txt", "missing_image")
    ]  # fmt: skip
    _, bad = split(lay(tmp_path, {"rooms.csv": "room,lamps\nnorth,4\n"}))
    assert bad[:3] == alone and [(row.file, row.row, row.reason) for row in bad[3:]] == [
        ("rooms.csv", 1, "wrong_schema")
    ]
    items, bad = split(lay(tmp_path, {"rooms.csv": "image,text\nc.png,of the table\n"}))
    assert [item.text for item in items] == ["a pump", "of the table"]
    assert [row.file for row in bad] == ["b.png", "d.txt"]


def test_linked_folders_are_read_once_and_every_other_link_is_left_out_with_a_reason(tmp_path: Path, picture, split):
    outside = lay(tmp_path / "outside", {"x.png": picture("blue"), "x.txt": "from outside", "deep/y.txt": "no picture"})
    inside = lay(
        tmp_path / "corpus", {"a.png": picture(), "sub/b.png": picture("green"), "sub/b.txt": "below", "a.txt": "top"}
    )
    for name, target in {"more": outside, "again": outside, "sub/up": inside, "twin": inside / "sub"}.items():
        (inside / name).symlink_to(target)
    (outside / "loop").symlink_to(outside)
    (inside / "c.png").symlink_to(inside / "gone.png")
    items, bad = split(inside, roots=(str(outside),))
    assert sorted(item.text for item in items) == ["below", "from outside", "top"]
    assert [(row.file, row.reason) for row in bad] == [("again/deep/y.txt", "missing_image")]
    assert list_left_out(inside, outside) == {
        "again/loop/": "linked_again", "more/": "linked_again", "sub/up/": "linked_again", "twin/": "linked_again",
        "c.png": "broken_link",
    }  # fmt: skip


def test_a_word_behind_a_name_is_a_language_only_if_it_is_a_tag_of_one(tmp_path: Path, picture, split):
    files = {"a.png": picture(), "a.txt": "a pump", "a.ocr.txt": "SN 4471", "a.alt.txt": "a brass pump"}
    files |= {"b.png": picture("blue"), "b.EN.txt": "a valve", "b.pt_br.txt": "uma válvula", "b.deu.txt": "ein Ventil"}
    for images in ("needed", "optional"):
        items, bad = split(lay(tmp_path, files), images=images)
        assert [(item.text, item.language) for item in items] == [
            ("a pump", "en"), ("a valve", "en"), ("ein Ventil", "de"), ("uma válvula", "pt-BR")
        ]  # fmt: skip
        assert bad == []
    assert list_left_out(tmp_path) == {"a.alt.txt": "unknown_suffix", "a.ocr.txt": "unknown_suffix"}


def test_names_meet_in_either_form_of_unicode(tmp_path: Path, picture, split):
    one, two = (unicodedata.normalize(form, "Größe é") for form in ("NFC", "NFD"))
    lay(tmp_path, {f"{two}.png": picture(), f"{one}.txt": "beside", f"images/{two}.png": picture("blue")})
    lay(tmp_path, {"items.csv": f"image,text\nimages/{one}.png,of the table\n"})
    items, bad = split(tmp_path)
    assert [item.text for item in items] == ["beside", "of the table"]
    assert bad == []


def test_every_file_is_read_or_left_out_with_a_reason(tmp_path: Path, picture):
    files = {
        "a.png": picture(),
        "a.txt": "a pump",
        "a.json": "{}",
        "sub/b.png": picture("blue"),
        "sub/b.de.txt": "ein Ventil",
    }
    files |= {"items.csv": "image,text\nimages/c.png,of the table\n", "images/c.png": picture("green")}
    files |= {"README.md": "x", "notes.pdf": "x", "e.text": "x", "sub/config.json": "{}", ".hidden": "x", ".git/f": "x"}
    lay(tmp_path, files)
    assert count_read(tmp_path) == {"./": 3, "items.csv": 1, "images/": 1, "sub/": 2}
    assert list_left_out(tmp_path) == {
        ".git/": "hidden_file", ".hidden": "hidden_file", "README.md": "other_kind", "e.text": "other_kind",
        "notes.pdf": "other_kind", "sub/config.json": "other_kind",
    }  # fmt: skip


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_tar_file_is_read_as_webdataset_writes_it(tmp_path: Path, picture, split, ending: str):
    """WebDataset's TarWriter writes the files of a sample one after another, under one key with different endings."""
    files = {f"{number:09d}.{end}": content for number in range(3) for end, content in (
        ("jpg", picture(f"#0000{number:02x}", kind="JPEG")), ("txt", f"caption {number}".encode()),
        ("json", json.dumps({"key": f"{number:09d}", "license": "CC0-1.0", "caption": "not this"}).encode()),
    )}  # fmt: skip
    files |= {"000000003.jpg": picture("green", kind="JPEG"), "000000000.cls": b"7"}
    with tarfile.open(tmp_path / f"00000{ending}", "w:gz" if ending.endswith("gz") else "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    for corpus in (tmp_path, tmp_path / f"00000{ending}"):
        items, bad = split(corpus)
        assert [(item.text, item.licence) for item in items] == [(f"caption {n}", "CC0-1.0") for n in range(3)]
        assert items[0].image == files["000000000.jpg"] and items[0].source == f"00000{ending}/000000000.jpg"
        assert [(row.file, row.reason) for row in bad] == [(f"00000{ending}/000000003.jpg", "missing_text")]
        assert list_left_out(corpus) == {f"00000{ending}/000000000.cls": "other_kind"}


@pytest.mark.parametrize("layout", ["files", "beside", "webdataset"])
def test_an_img2dataset_table_gives_no_item_again_and_names_what_it_could_not_fetch(
    tmp_path: Path, picture, split, layout
):
    """img2dataset writes beside each folder or tar file a table of all its rows, with the reason of a failure."""
    samples = {"000000000": "a pump in the north hall", "000000001": "a valve that is shut by hand"}
    contents = {f"{key}.{end}": content for place, (key, text) in enumerate(samples.items()) for end, content in (
        ("jpg", picture(f"#00{place}000", kind="JPEG")), ("txt", text.encode()),
        ("json", json.dumps({"key": key, "caption": text, "status": "success"}).encode()),
    )}  # fmt: skip
    if layout == "webdataset":
        with tarfile.open(tmp_path / "00000.tar", "w") as tar:
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    else:
        lay(tmp_path / ("00000" if layout == "files" else ""), contents)
    rows = [
        {
            "url": f"https://example.org/{key}.jpg",
            "caption": text,
            "key": key,
            "status": "success",
            "error_message": None,
        }
        for key, text in samples.items()
    ]
    rows.append(
        rows[0] | {"caption": "a lost one", "key": "000000002", "status": "failed_to_download", "error_message": "404"}
    )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text('{"count": 3, "successes": 2}')
    items, bad = split(tmp_path)
    assert [item.text for item in items] == list(samples.values())
    assert [(row.file, row.row, row.reason) for row in bad] == [
        ("00000.parquet", 1, "duplicate_id"),
        ("00000.parquet", 2, "duplicate_id"),
        ("00000.parquet", 3, "missing_image"),
    ]
    assert "404" in bad[2].detail
    assert list_left_out(tmp_path) == {"00000_stats.json": "other_kind"}
    items, _ = split(tmp_path, images="optional")
    assert {item.text for item in items if item.image} == set(samples.values())
    assert [item.text for item in items if not item.image] == ["a lost one"]


@pytest.mark.parametrize("beside", [False, True])
def test_members_below_a_dot_are_read_as_tar_writes_them(tmp_path: Path, picture, split, beside: bool):
    archives = {"a.tar": "./", "b.tar": ""} if beside else {"a.tar": "./"}
    for archive, folder in archives.items():
        with tarfile.open(tmp_path / archive, "w") as tar:
            color = "red" if folder else "blue"
            for name, content in (("p.png", picture(color)), ("p.txt", f"a {color} valve".encode())):
                member = tarfile.TarInfo(folder + name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    items, bad = split(tmp_path)
    assert [item.text for item in items] == ["a red valve", "a blue valve"][: len(archives)]
    assert bad == []


def test_a_text_without_a_picture_states_its_language_in_its_name(tmp_path: Path, split):
    for name in ("a.de.txt", "b.es.md", "c.ocr.txt", "v1.0.txt", "de.txt"):
        (tmp_path / name).write_text("1.50")
    items, bad = split(tmp_path, images="optional", language="fr")
    assert [item.language for item in items] == ["de", "es", "fr"] and [row.reason for row in bad] == [
        "duplicate_id"
    ] * 2
