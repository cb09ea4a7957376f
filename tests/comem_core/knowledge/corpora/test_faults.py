"""Files that are cut off, names that are there twice, broken JSON, Excel's first line, pictures that show nothing."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from comem_core.knowledge.corpora import BadRow, FoundItem, ReadingOptions, open_corpus

Rows = list[FoundItem | BadRow]
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def read_whole(corpus: Path) -> Rows:
    """Read a corpus, and check that each row that was counted is read, in the file that was counted and is listed."""
    opened = open_corpus(str(corpus), reading=ReadingOptions(language="en"))
    pieces = list(opened.cut_into_pieces())
    rows = [row for piece in pieces for row in opened.read(piece)]
    counted = sum(map(opened.count_rows, pieces), Counter())
    assert counted.total() == len(rows) == sum(piece.num_rows for piece in pieces)
    listed = [each.file for each in opened.list_files() if each.reason is None]
    assert counted.keys() <= set(listed) and len(listed) == len(set(listed))
    return rows


def list_bad(rows: Rows) -> list[tuple[str, str]]:
    return [(row.file, row.reason) for row in rows if isinstance(row, BadRow)]


def list_texts(rows: Rows) -> list[str]:
    return [row.item.text for row in rows if isinstance(row, FoundItem)]


def make_tar(members: list[tuple[str, bytes]]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


@pytest.fixture(scope="module")
def samples() -> list[tuple[str, bytes]]:
    """Six samples of a picture and a text, as WebDataset writes them."""
    found = []
    for number in range(6):
        written = io.BytesIO()
        noise = np.random.default_rng(number).integers(0, 255, (20, 20, 3), np.uint8)
        Image.fromarray(noise).save(written, "PNG")
        found += [(f"{number:03}.png", written.getvalue()), (f"{number:03}.txt", f"Valve number {number}.".encode())]
    return found


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_tar_that_is_cut_anywhere_keeps_what_is_whole_and_is_named(tmp_path: Path, samples, data: st.DataObject):
    whole = make_tar(samples)
    end = whole.rindex(samples[-1][1]) + len(samples[-1][1])
    corpus = tmp_path / "cut.tar"
    corpus.write_bytes(whole[: data.draw(st.integers(600, end))])
    rows = read_whole(corpus)
    texts = list_texts(rows)
    assert texts == [f"Valve number {number}." for number in range(len(texts))] and len(texts) < 6
    assert list_bad(rows)[-1] == ("cut.tar", "cut_off")
    assert set(list_bad(rows)[:-1]) <= {(f"cut.tar/{len(texts):03}.png", "missing_text")}


def test_a_whole_tar_has_no_such_row(tmp_path: Path, samples):
    for name, content in (("whole.tar", make_tar(samples)), ("whole.tar.gz", gzip.compress(make_tar(samples)))):
        (tmp_path / name).write_bytes(content)
        rows = read_whole(tmp_path / name)
        assert len(list_texts(rows)) == 6 and not list_bad(rows)


@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_a_packed_tar_that_is_cut_keeps_what_is_whole(tmp_path: Path, samples, packing: str):
    packed = PACKERS[packing](make_tar(samples))
    (tmp_path / f"cut.tar.{packing}").write_bytes(packed[: len(packed) * 2 // 3])
    rows = read_whole(tmp_path)
    assert 0 < len(list_texts(rows)) < 6 and list_bad(rows)[-1] == (f"cut.tar.{packing}", "cut_off")


@pytest.mark.parametrize("damage", ["cut", "overwritten", "another kind"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.tar"])
@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_file_that_cannot_be_read_is_named(tmp_path: Path, packing: str, name: str, damage: str):
    noise = np.random.default_rng(0).bytes(200_000).hex().encode()
    packed = PACKERS[packing](b"image,text\n" + noise)
    damaged = {
        "cut": packed[: len(packed) // 2],
        "overwritten": packed[:200] + bytes(400) + packed[600:],
        "another kind": b"a text that is not packed\n" * 9,
    }
    (tmp_path / f"{name}.{packing}").write_bytes(damaged[damage])
    with pytest.raises(ValueError, match=rf"{name}\.{packing} is (not a tar file, or is )?damaged or cut off"):
        read_whole(tmp_path)


def test_a_zip_that_is_cut_is_named(tmp_path: Path, samples):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as written:
        for name, content in samples:
            written.writestr(name, content)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"cut\.zip is not a zip file, or is damaged or cut off"):
        open_corpus(f"zip://::{tmp_path / 'cut.zip'}")


@pytest.mark.parametrize("twice", [["000.png"], ["000.txt"], ["000.png", "000.txt"], ["000.json"]])
def test_a_name_that_is_in_a_tar_twice_is_a_bad_row(tmp_path: Path, samples, twice: list[str]):
    members = [*samples, ("000.json", b'{"source": "one"}')]
    again = [(name, content) for name, content in members if name in twice]
    (tmp_path / "twice.tar").write_bytes(make_tar([*members, *again]))
    rows = read_whole(tmp_path)
    assert list_texts(rows) == [f"Valve number {number}." for number in range(1, 6)]
    assert list_bad(rows) == [("twice.tar/000.png", "duplicate_name")]
    bad = next(row for row in rows if isinstance(row, BadRow))
    assert all(name in bad.detail for name in twice)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "arrow"])
@pytest.mark.parametrize("column", ["text", "image", "caption"])
def test_a_table_with_two_columns_of_one_name_is_refused_by_name(tmp_path: Path, picture, kind: str, column: str):
    names = ["image", "text", "caption", column, "note", "note"]
    cells = [picture() if name == "image" and kind not in ("csv", "tsv") else name for name in names]
    table = pa.table([pa.array([cell]) for cell in cells], names=names)
    if kind == "parquet":
        pq.write_table(table, tmp_path / "t.parquet")
    elif kind == "arrow":
        with pa.ipc.new_stream(str(tmp_path / "t.arrow"), table.schema) as stream:
            stream.write_table(table)
        (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "t.arrow"}]}))
    else:
        mark = {"csv": ",", "tsv": "\t"}[kind]
        (tmp_path / f"t.{kind}").write_text(f"{mark.join(names)}\n{mark.join(map(str, cells))}\n")
    with pytest.raises(ValueError, match=rf"t\.{kind} has several columns named {column}"):
        read_whole(tmp_path)


def test_two_columns_that_are_not_needed_may_have_one_name(tmp_path: Path, picture):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "t.csv").write_text("image,text,note,note,,\na.png,a valve,1,2,,\n")
    assert list_texts(read_whole(tmp_path)) == ["a valve"]


def test_a_field_that_is_in_an_object_twice_is_a_bad_row(tmp_path: Path, picture):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "a.json").write_text('{"text": "one", "text": "two"}')
    (tmp_path / "t.jsonl").write_text(
        '{"image": "a.png", "text": "one", "text": "two"}\n{"image": "a.png", "text": "x"}\n'
    )
    (tmp_path / "u.json").write_text('[{"image": "a.png", "text": "one", "text": "two"}]')
    rows = read_whole(tmp_path)
    assert list_texts(rows) == ["x"]
    assert Counter(list_bad(rows)) == {(name, "wrong_schema"): 1 for name in ("a.png", "t.jsonl", "u.json")}
    assert all("the field text more than once" in row.detail for row in rows if isinstance(row, BadRow))


LLAVA = [{"image": "a.png", "conversations": [{"from": "gpt", "value": f"ein großer Kessel {n}"}]} for n in range(3)]
COCO = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "caption": "a giraffe"}]}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.sampled_from([LLAVA, COCO]), indent=st.sampled_from([None, 1]), data=st.data())
def test_json_that_is_cut_anywhere_says_where_it_ends(
    tmp_path: Path, content: object, indent: int | None, data: st.DataObject
):
    whole = json.dumps(content, ensure_ascii=False, indent=indent).encode()
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    (tmp_path / "captions.json").write_bytes(cut)
    for corpus in (tmp_path, tmp_path / "captions.json"):
        [bad] = read_whole(corpus)
        assert isinstance(bad, BadRow) and (bad.file, bad.reason) == ("captions.json", "wrong_schema")
        assert "JSON that ends early" in bad.detail
        try:
            line = cut.decode().count("\n") + 1
        except UnicodeDecodeError:
            continue
        assert f"line {line} " in bad.detail or cut.endswith(b"\n")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            '{"image": "a.png"}\n{"image": "b.png"}\n',
            "a second value begins at line 2; name a file of JSON Lines .jsonl",
        ),
        ("[{'image': 1}]", "not JSON: Expecting property name"),
        ("", "it is empty"),
    ],
)
def test_a_file_that_is_no_json_says_what_it_is(tmp_path: Path, written: str, said: str):
    (tmp_path / "captions.json").write_text(written)
    [bad] = read_whole(tmp_path)
    assert isinstance(bad, BadRow) and said in bad.detail


@pytest.mark.parametrize("mark", [";", ",", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    "encode", [str.encode, lambda text: text.encode("utf-16"), lambda text: text.encode("utf-8-sig")]
)
@pytest.mark.parametrize("form", ["sep={}", '"sep={}"', "SEP={}"])
def test_excels_first_line_states_the_delimiter(
    tmp_path: Path, picture, mark: str, end: str, encode: Callable[[str], bytes], form: str
):
    (tmp_path / "a.png").write_bytes(picture())
    rows = [["image", "text"], ["a.png", f'"one{mark} two;,"'], ["a.png", "three"]]
    lines = [form.format(mark), *(mark.join(row) for row in rows)]
    (tmp_path / "t.csv").write_bytes(encode(end.join(lines) + end))
    rows = read_whole(tmp_path)
    assert list_texts(rows) == [f"one{mark} two;,", "three"] and not list_bad(rows)
    assert [row.row for row in rows] == [1, 2]


FAULTS = [
    ("{not json", "wrong_schema", "a.json is not JSON"),
    ("", "wrong_schema", "a.json is not JSON: it is empty"),
    ('{"text": "cut', "wrong_schema", "a.json is JSON that ends early, at line 1 column 13"),
    ('["a valve"]', "wrong_schema", "a.json: expected an object with text; found list"),
    ('"a valve"', "wrong_schema", "a.json: expected an object with text; found str"),
    ("{}", "missing_text", "a.json has no field for a text"),
    ('{"language": "de"}', "missing_text", "a.json has no field for a text"),
    ('{"text": ""}', "missing_text", "the text in a.json is empty"),
    ('{"text": null}', "missing_text", "the text in a.json is empty"),
    ('{"text": 5}', "wrong_schema", "a.json: expected the text as a string; found int"),
    ('{"text": ["a", 5]}', "wrong_schema", "a.json: expected the text as a string; found list"),
    ('{"text": {"a": 1}}', "wrong_schema", "a.json: expected the text as a string; found dict"),
]


@pytest.mark.parametrize(("written", "reason", "said"), FAULTS)
def test_what_is_wrong_with_a_json_file_beside_a_picture_is_said(
    tmp_path: Path, picture, written: str, reason: str, said: str
):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "a.json").write_text(written)
    [bad] = read_whole(tmp_path)
    assert isinstance(bad, BadRow) and (bad.file, bad.reason) == ("a.png", reason) and said in bad.detail


def write_picture(picture: Image.Image, kind: str, **options: object) -> bytes:
    written = io.BytesIO()
    picture.save(written, kind, **options)
    return written.getvalue()


HIDDEN = {
    "rgba": write_picture(Image.new("RGBA", (30, 20), (9, 90, 9, 0)), "PNG"),
    "hardly": write_picture(Image.new("RGBA", (30, 20), (200, 0, 0, 5)), "PNG"),
    "grey": write_picture(Image.new("LA", (30, 20), (9, 0)), "PNG"),
    "one colour": write_picture(Image.new("RGB", (30, 20), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
    "palette": write_picture(Image.new("P", (30, 20), 0), "GIF", transparency=0),
    "deep": write_picture(Image.new("I;16", (30, 20), 700), "PNG", transparency=700),
    "webp": write_picture(Image.new("RGBA", (30, 20), (9, 90, 9, 0)), "WEBP", lossless=True),
    "tiff": write_picture(Image.new("RGBA", (30, 20), (9, 90, 9, 0)), "TIFF"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_picture_that_is_wholly_transparent_is_a_bad_row(tmp_path: Path, name: str):
    (tmp_path / "a.png").write_bytes(HIDDEN[name])
    (tmp_path / "a.txt").write_text("a valve")
    assert list_bad(read_whole(tmp_path)) == [("a.png", "nothing_shown")]


@pytest.mark.parametrize("colour", [(255, 255, 255, 255), (0, 0, 0, 255), (200, 0, 0, 128)])
def test_a_picture_of_one_colour_and_one_with_a_single_dot_are_pictures(tmp_path: Path, colour: tuple):
    plain, dot = Image.new("RGBA", (30, 20), colour), Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    dot.putpixel((3, 3), colour)
    for name, picture in (("plain", plain), ("dot", dot)):
        (tmp_path / f"{name}.png").write_bytes(write_picture(picture, "PNG"))
        (tmp_path / f"{name}.txt").write_text(name)
    assert sorted(list_texts(read_whole(tmp_path))) == ["dot", "plain"]
