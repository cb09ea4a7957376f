"""Opening a corpus by what lies there, reading it whole and in pieces, and its errors."""

import json
import os
import pickle
import shutil
import zipfile
from itertools import chain
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.corpora import BadRow, FoundItem, ReadingOptions, open_corpus, read_corpus
from comem_core.knowledge.items import KnowledgeItem
from comem_core.worlds.countries import world
from tests.buckets import KEYS, find_port

GROCERY = Path(__file__).parents[4] / "../shared/fixtures/grocery"


def test_the_built_in_corpus_yields_its_items_unchanged(split):
    items, bad = split("countries")
    assert items == list(world.load_knowledge_items())
    assert bad == []


def test_rows_are_streamed(tmp_path: Path, picture, write_jsonl):
    """The first item is there before the second row is looked at."""
    (tmp_path / "a.png").write_bytes(picture("red"))
    (tmp_path / "b.png").write_bytes(picture("blue"))
    rows = read_corpus(str(write_jsonl(tmp_path / "items.jsonl", [{"text": "t", "image": f"{x}.png"} for x in "ab"])))
    assert isinstance(next(rows), KnowledgeItem)
    (tmp_path / "b.png").unlink()
    assert isinstance(next(rows), BadRow)


def test_a_corpus_without_a_good_row_is_an_error_with_its_first_reasons(tmp_path: Path, write_jsonl):
    rows = read_corpus(str(write_jsonl(tmp_path / "items.jsonl", ["{broken"] * 9)))
    assert [next(rows).reason for _ in range(9)] == ["wrong_schema"] * 9  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        ValueError, match=r"no usable item; 9 bad rows, first:\n.*row 1: wrong_schema: not a l"
    ) as error:
        next(rows)
    assert str(error.value).count("wrong_schema") == 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no usable item; 0 bad rows\. .*a folder"):
        list(read_corpus(str(tmp_path / "empty")))


def test_a_corpus_that_does_not_exist_is_an_error_at_once(tmp_path: Path):
    with pytest.raises(
        ValueError,
        match=r"no such file or folder.*built-in one \(countries, imaginary-countries, emoji\); docs/data\.md",
    ):
        read_corpus(str(tmp_path / "nowhere"))
    (tmp_path / "items.doc").write_text("x")
    with pytest.raises(ValueError, match="a file of another kind"):
        read_corpus(str(tmp_path / "items.doc"))
    with pytest.raises(ValueError, match="cannot be opened"):
        read_corpus("nonsense://bucket/items.jsonl")


def test_an_address_where_nobody_answers_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    nobody = f"127.0.0.1:{find_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{nobody}")
    for address in ("s3://bucket/items", f"http://{nobody}/items.jsonl"):
        with pytest.raises(ValueError, match=f"corpus '{address}' cannot be looked at: .*Look at the address") as said:
            read_corpus(address)
        assert "\n" not in str(said.value)


def test_what_a_row_does_not_say_is_filled_in(tmp_path: Path, write_jsonl, split):
    texts = ["Dies ist ein kleiner deutscher Satz.", "This is a small English sentence.", "これは短い文です。"]
    corpus = write_jsonl(tmp_path / "items.jsonl", [{"text": text} for text in texts])
    items, bad = split(corpus, images="optional")
    assert bad == []
    assert [(item.language, item.source, item.licence, item.image) for item in items] == [
        (language, "items.jsonl", "unknown", None) for language in ("de", "en", "ja")
    ]
    items, _ = split(corpus, images="optional", language="xx", source="my texts", licence="CC0-1.0")
    assert {(item.language, item.source, item.licence) for item in items} == {("xx", "my texts", "CC0-1.0")}


def test_a_row_without_a_picture_is_bad_unless_pictures_are_optional(tmp_path: Path, picture, write_jsonl, split):
    (tmp_path / "flag.png").write_bytes(picture())
    rows = [{"image": None, "text": "alone"}, {"image": "flag.png", "text": "both"}, {"image": "gone.png", "text": "c"}]
    corpus = write_jsonl(tmp_path / "items.jsonl", rows)
    items, bad = split(corpus)
    assert [item.text for item in items] == ["both"]
    assert [(row.row, row.reason) for row in bad] == [(1, "missing_image"), (3, "missing_image")]
    items, bad = split(corpus, images="optional")
    assert [(item.text, item.image is None) for item in items] == [("alone", True), ("both", False)]
    assert [(row.row, row.reason) for row in bad] == [(3, "missing_image")]  # it names a picture that is not there


def test_an_address_is_not_fetched_unless_that_is_allowed(tmp_path: Path, write_jsonl, split):
    rows = [{"image": "https://example.org/a.png", "text": "one"}, {"image": "s3://bucket/a.png", "text": "two"}]
    rows += [{"image": "https://10.0.0.1/a.png", "text": "three"}]
    corpus = write_jsonl(tmp_path / "items.jsonl", [{"text": "alone"}, *rows])
    items, bad = split(corpus, images="optional")
    assert [item.text for item in items] == ["alone", "one", "three"]
    assert [row.reason for row in bad] == ["address_refused"]
    items, bad = split(write_jsonl(corpus, [{"text": "alone"}, *rows[1:]]), images="optional", allow_urls=True)
    assert [item.text for item in items] == ["alone"]
    assert [(row.row, row.reason) for row in bad] == [(2, "address_refused"), (3, "address_refused")]
    with pytest.raises(ValueError, match=r"missing_image: https://example.org/a.png is an address.*allow_urls"):
        split(write_jsonl(corpus, rows))


@pytest.fixture
def mixed(tmp_path: Path, picture) -> Path:
    """A folder with 23 rows in every kind of table, and pairs beside them; some rows are bad."""
    (tmp_path / "pairs").mkdir()
    for number in range(5):
        (tmp_path / f"pairs/{number}.png").write_bytes(picture(f"#0000{number:02x}"))
        (tmp_path / f"pairs/{number}.txt").write_text(f"pair {number}")
    (tmp_path / "pairs/2.png").write_bytes(b"broken")
    rows = [{"image": f"pairs/{number % 5}.png", "text": f"row {number}"} for number in range(7)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "b.csv").write_text("image,text\n" + "".join(f'{row["image"]},"csv\n{row["text"]}"\n' for row in rows))
    table = pa.table({name: [row[name] for row in rows] for name in ("image", "text")})
    pq.write_table(table.set_column(1, "text", pa.array([f"parquet {n}" for n in range(7)])), tmp_path / "c.parquet")
    return tmp_path


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pieces_of_any_size_read_in_any_order_give_the_same_rows(mixed: Path, size: int):
    corpus = open_corpus(str(mixed), reading=ReadingOptions())
    whole = [row for piece in corpus.cut_into_pieces() for row in corpus.read(piece)]
    assert [row.row for row in whole] == [*range(1, 6), *range(1, 8), *range(1, 8), *range(1, 8)]
    assert sum(isinstance(row, BadRow) for row in whole) == 4
    pieces = list(corpus.cut_into_pieces(size))
    assert len(pieces) >= 23 / size
    copy = pickle.loads(pickle.dumps(corpus))  # what a worker gets
    parts = {piece: list(copy.read(piece)) for piece in reversed(pieces)}
    parts |= {piece: list(copy.read(piece)) for piece in pieces[::2]}
    assert list(chain.from_iterable(parts[piece] for piece in pieces)) == whole


def test_a_corpus_behind_an_address_reads_as_the_local_one(mixed: Path):
    def rows_of(address: str) -> list[FoundItem | BadRow]:
        corpus = open_corpus(address)
        return [row for piece in corpus.cut_into_pieces(4) for row in corpus.read(piece)]

    memory = fsspec.filesystem("memory")
    memory.put(str(mixed), "/corpora/mixed", recursive=True)
    zipped = mixed.parent / "mixed.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for path in sorted(mixed.rglob("*")):
            archive.write(path, path.relative_to(mixed))
    expected = rows_of(str(mixed))
    assert len(expected) == 26
    assert rows_of(mixed.as_uri()) == expected
    assert rows_of("memory://corpora/mixed") == expected
    assert rows_of(f"zip://::{zipped}") == expected
    assert rows_of("memory://corpora/mixed/a.jsonl") == rows_of(str(mixed / "a.jsonl"))
    assert rows_of(f"zip://a.jsonl::{zipped}") == rows_of(str(mixed / "a.jsonl"))


def test_content_is_named_by_names_sizes_and_times_and_not_by_place(mixed: Path, tmp_path_factory):
    name = open_corpus(str(mixed)).name_content()
    copy = tmp_path_factory.mktemp("copy") / "elsewhere"
    shutil.copytree(mixed, copy)  # keeps times
    assert open_corpus(str(copy)).name_content() == name
    os.utime(copy / "a.jsonl", ns=(1, 1))
    assert open_corpus(str(copy)).name_content() != name
    assert open_corpus(str(mixed / "a.jsonl")).name_content() != open_corpus(str(mixed / "b.csv")).name_content()


def test_tags_of_one_language_are_written_alike_and_a_word_that_is_no_tag_is_a_bad_row(
    tmp_path: Path, write_jsonl, split
):
    tags = ["EN", "en", "eng", "en-us", "zh_hans", "English"]
    corpus = write_jsonl(tmp_path / "items.jsonl", [{"text": f"text {tag}", "language": tag} for tag in tags])
    items, bad = split(corpus, images="optional")
    assert [item.language for item in items] == ["en", "en", "en", "en-US", "zh-Hans"]
    assert [(row.row, row.reason) for row in bad] == [(6, "wrong_schema")]
    assert "found 'English'; expected a language such as en" in bad[0].detail


def test_rows_that_vanish_while_a_corpus_is_read_are_an_error_that_names_the_file(tmp_path: Path, write_jsonl):
    corpus = open_corpus(str(write_jsonl(tmp_path / "items.jsonl", [{"text": f"text {n}"} for n in range(4)])))
    (piece,) = corpus.cut_into_pieces()
    assert corpus.count_rows(piece) == {"items.jsonl": 4} and len(list(corpus.read(piece))) == 4
    write_jsonl(tmp_path / "items.jsonl", [{"text": "one longer text than all before, in a line"}, {"text": "another"}])
    with pytest.raises(ValueError, match=r"items\.jsonl: 4 rows were seen, but \d became items.*If the file changed"):
        list(open_corpus(str(tmp_path / "items.jsonl")).read(piece))


@pytest.mark.skipif(not GROCERY.is_dir(), reason=f"no grocery photos at {GROCERY}")
def test_real_photos_are_read_and_another_schema_is_refused_row_by_row(tmp_path: Path, write_jsonl, split):
    photos = sorted((GROCERY / "photos").glob("0[0-3]_0.jpg"))
    names = {row["class_id"]: row["name"] for row in map(json.loads, (GROCERY / "items.jsonl").open())}
    rows = [{"image": str(photo.resolve()), "text": names[int(photo.name[:2])], "language": "en"} for photo in photos]
    options = {"source": "grocery", "licence": "MIT", "max_side": 100, "roots": (str(GROCERY.resolve()),)}
    items, bad = split(write_jsonl(tmp_path / "items.jsonl", rows), **options)
    assert [item.text for item in items] == [names[number] for number in range(4)]
    assert bad == []
    with pytest.raises(ValueError, match="missing image, text"):
        split(GROCERY / "items.jsonl")
