"""Reading corpora from real small files, good and bad."""

import io
import json
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from comem_core.knowledge.corpora import BadRow, Reading, prepared_image, read_corpus
from comem_core.knowledge.items import KnowledgeItem

GROCERY = Path(__file__).parents[3] / "../shared/fixtures/grocery"
WORDS = Reading(language="en", source="my photos", licence="CC0-1.0")


def picture(
    color: str = "red", *, size: tuple[int, int] = (8, 6), mode: str = "RGB", kind: str = "PNG", **options
) -> bytes:
    written = io.BytesIO()
    Image.new(mode, size, color).save(written, format=kind, **options)
    return written.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def decoded(raw: bytes) -> Image.Image:
    return Image.open(io.BytesIO(raw))


def split(rows) -> tuple[list[KnowledgeItem], list[BadRow]]:
    rows = list(rows)
    return [row for row in rows if isinstance(row, KnowledgeItem)], [row for row in rows if isinstance(row, BadRow)]


def write_jsonl(file: Path, rows: list) -> str:
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(file)


def test_the_built_in_corpus_yields_its_items_unchanged():
    from comem_core.worlds.countries import world

    items, bad = split(read_corpus("countries"))
    assert items == list(world.knowledge_items())
    assert bad == []


def test_a_folder_gives_one_item_an_image_with_its_text(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.png").write_bytes(picture("red"))
    (tmp_path / "a.txt").write_text("\ufeffعلم مصر\n", encoding="utf-8")
    (tmp_path / "deep/b.JPG").write_bytes(picture("blue", kind="JPEG"))
    (tmp_path / "deep/b.txt").write_text("日本の旗", encoding="utf-8")
    (tmp_path / "README.md").write_text("not looked at")
    items, bad = split(read_corpus(str(tmp_path), reading=WORDS))
    assert bad == []
    assert [(item.text, item.language, item.source, item.licence) for item in items] == [
        ("علم مصر", "en", "my photos", "CC0-1.0"),
        ("日本の旗", "en", "my photos", "CC0-1.0"),
    ]
    assert items[0].image == picture("red")  # nothing to do, so the very same bytes


def test_a_folder_lists_its_bad_rows_and_goes_on(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.png").write_bytes(picture())
    (tmp_path / "c.txt").write_text("text without an image")
    (tmp_path / "d.png").write_bytes(picture())
    (tmp_path / "d.txt").write_text("the good one")
    (tmp_path / "e.png").write_bytes(picture())
    (tmp_path / "e.txt").write_text("the good one")
    (tmp_path / "f.png").write_bytes(picture())
    (tmp_path / "f.txt").write_bytes("naïve".encode("latin-1"))
    (tmp_path / "g.png").write_bytes(picture())
    (tmp_path / "g.txt").write_text("  \n")
    items, bad = split(read_corpus(str(tmp_path), reading=WORDS))
    assert [item.text for item in items] == ["the good one"]
    assert [(Path(row.file).name, row.row, row.reason) for row in bad] == [
        ("a.png", 1, "unreadable_image"),
        ("b.png", 2, "missing_text"),
        ("e.png", 4, "duplicate_id"),
        ("f.png", 5, "wrong_schema"),
        ("g.png", 6, "missing_text"),
        ("c.txt", 7, "missing_image"),
    ]
    assert "d.png row 3" in bad[2].detail


def test_a_folder_needs_to_be_told_what_its_texts_do_not_say(tmp_path: Path):
    with pytest.raises(ValueError, match="do not say language, licence; give them"):
        read_corpus(str(tmp_path), reading=Reading(source="my photos"))


def test_a_jsonl_row_says_everything_itself(tmp_path: Path):
    (tmp_path / "flag.png").write_bytes(picture())
    row = {"image": "flag.png", "text": "Флаг", "language": "ru", "source": "s", "licence": "l", "entity_id": "EG"}
    items, bad = split(read_corpus(write_jsonl(tmp_path / "items.jsonl", [row, "", row | {"text": "другой"}])))
    assert [(item.text, item.language, item.entity_id, item.title) for item in items] == [
        ("Флаг", "ru", "EG", None),
        ("другой", "ru", "EG", None),
    ]
    assert bad == []


def test_each_bad_jsonl_row_is_named_with_its_line(tmp_path: Path):
    (tmp_path / "flag.png").write_bytes(picture())
    (tmp_path / "half.png").write_bytes(picture(size=(300, 300))[:200])
    (tmp_path / "bomb.png").write_bytes(bomb(30_000))
    good = {"image": "flag.png", "text": "t", "language": "en", "source": "s", "licence": "l"}
    rows = [
        good,
        "{broken",
        ["a list"],
        good | {"text": 7},
        good | {"image": "gone.png"},
        good | {"image": "half.png"},
        good | {"image": "bomb.png"},
        {"image": "flag.png", "text": "t", "language": "en"},
        good,
        good | {"text": ""},
        good | {"text": "another"},
    ]
    items, bad = split(read_corpus(write_jsonl(tmp_path / "items.jsonl", rows)))
    assert [item.text for item in items] == ["t", "another"]
    assert [(row.row, row.reason) for row in bad] == [
        (2, "wrong_schema"),
        (3, "wrong_schema"),
        (4, "wrong_schema"),
        (5, "missing_image"),
        (6, "unreadable_image"),
        (7, "image_too_large"),
        (8, "wrong_schema"),
        (9, "duplicate_id"),
        (10, "missing_text"),
    ]
    details = {row.row: row.detail for row in bad}
    assert details[3] == "expected an object with image and text; found list"
    assert details[4] == "expected texts; text is int"
    assert details[8] == "missing source, licence; found the fields image, language, text"
    assert {row.file for row in bad} == {str(tmp_path / "items.jsonl")}


def test_rows_are_streamed(tmp_path: Path):
    """The first item is there before the second row is looked at."""
    (tmp_path / "a.png").write_bytes(picture("red"))
    (tmp_path / "b.png").write_bytes(picture("blue"))
    shared = {"text": "t", "language": "en", "source": "s", "licence": "l"}
    rows = read_corpus(write_jsonl(tmp_path / "items.jsonl", [shared | {"image": f"{name}.png"} for name in "ab"]))
    assert isinstance(next(rows), KnowledgeItem)
    (tmp_path / "b.png").unlink()
    assert isinstance(next(rows), BadRow)


def test_a_corpus_without_a_good_row_is_an_error_with_its_first_reasons(tmp_path: Path):
    corpus = write_jsonl(tmp_path / "items.jsonl", ["{broken"] * 9)
    rows = read_corpus(corpus)
    assert [next(rows).reason for _ in range(9)] == ["wrong_schema"] * 9  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        ValueError, match=r"no usable item; 9 bad rows, first:\n.*row 1: wrong_schema: not a line"
    ) as error:
        next(rows)
    assert str(error.value).count("wrong_schema") == 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no usable item; 0 bad rows"):
        list(read_corpus(str(tmp_path / "empty"), reading=WORDS))


def test_a_corpus_that_does_not_exist_is_an_error_at_once(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no such file or folder.*built-in one \(countries\)"):
        read_corpus(str(tmp_path / "nowhere"))
    (tmp_path / "items.csv").write_text("x")
    with pytest.raises(ValueError, match="a file of another kind"):
        read_corpus(str(tmp_path / "items.csv"))


def test_large_images_are_made_smaller_with_their_shape_kept():
    small = decoded(prepared_image(picture(size=(300, 100)), reading=Reading(max_side=150)))
    assert (small.size, small.mode, small.format) == ((150, 50), "RGB", "PNG")
    photo = decoded(prepared_image(picture(size=(300, 100), kind="JPEG"), reading=Reading(max_side=150)))
    assert (photo.size, photo.format) == ((150, 50), "JPEG")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_fits_keeps_its_bytes(kind: str):
    raw = picture(kind=kind)
    assert prepared_image(raw, reading=Reading()) == raw


def test_transparent_grey_and_turned_images_become_upright_rgb():
    clear = decoded(prepared_image(picture("#ff000000", mode="RGBA"), reading=Reading()))
    assert (clear.mode, clear.getpixel((0, 0))) == ("RGB", (255, 255, 255))
    grey = decoded(prepared_image(picture("#808080", mode="L"), reading=Reading()))
    assert (grey.mode, grey.getpixel((0, 0))) == ("RGB", (128, 128, 128))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    turned = decoded(prepared_image(picture(size=(8, 6), kind="JPEG", exif=exif), reading=Reading()))
    assert turned.size == (6, 8)


def test_a_small_file_that_unpacks_to_gigabytes_is_not_decoded():
    with pytest.raises(ValueError, match="8000 x 8000 pixels; at most 50000000"):
        prepared_image(bomb(8000), reading=Reading())
    with pytest.raises(ValueError, match="exceeds limit"):
        prepared_image(bomb(60_000), reading=Reading())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_a_bad_row(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "a.txt").write_text("t")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(ValueError, match="unreadable_image"):
        list(read_corpus(str(tmp_path), reading=WORDS))


@pytest.mark.skipif(not GROCERY.is_dir(), reason=f"no grocery photos at {GROCERY}")
def test_real_photos_are_read_and_another_schema_is_refused_row_by_row(tmp_path: Path):
    photos = sorted((GROCERY / "photos").glob("0[0-3]_0.jpg"))
    names = {row["class_id"]: row["name"] for row in map(json.loads, (GROCERY / "items.jsonl").open())}
    rows = [{"image": str(photo.resolve()), "text": names[int(photo.name[:2])], "language": "en"} for photo in photos]
    corpus = write_jsonl(tmp_path / "items.jsonl", rows)
    items, bad = split(read_corpus(corpus, reading=Reading(source="grocery", licence="MIT", max_side=100)))
    assert [item.text for item in items] == [names[number] for number in range(4)]
    assert bad == []
    assert all(max(decoded(item.picture).size) <= 100 for item in items)
    with pytest.raises(ValueError, match="missing image, text"):
        list(read_corpus(str(GROCERY / "items.jsonl"), reading=WORDS))
