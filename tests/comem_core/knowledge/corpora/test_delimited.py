"""CSV and TSV: quoted line breaks, wrong numbers of cells, bytes that are not text."""

import gzip
from itertools import chain
from pathlib import Path

import pytest

from comem_core.knowledge.corpora import ReadingOptions, open_corpus


def test_quoted_cells_may_hold_line_breaks_quotes_and_commas(tmp_path: Path, picture, split):
    (tmp_path / "flag.png").write_bytes(picture())
    text = '\ufeffimage,text\r\nflag.png,"one\nline, and ""another"""\r\n\r\nflag.png,two\r\n'
    (tmp_path / "items.csv").write_bytes(text.encode())
    items, bad = split(tmp_path / "items.csv")
    assert [item.text for item in items] == ['one\nline, and "another"', "two"]
    assert bad == []


def test_bad_rows_are_numbered_without_the_header(tmp_path: Path, split):
    rows = b"text\tlanguage\ngood\ten\ntoo\tmany\tcells\nna\xefve\ten\n\ten\nlast\ten\n"
    (tmp_path / "items.tsv").write_bytes(rows)
    items, bad = split(tmp_path / "items.tsv", images="optional")
    assert [item.text for item in items] == ["good", "last"]
    assert [(row.row, row.reason) for row in bad] == [(2, "wrong_schema"), (3, "wrong_schema"), (4, "missing_text")]
    assert bad[0].detail == "3 cells where the header has 2"
    assert bad[1].detail == "text is not valid UTF-8 text"


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_piece_never_begins_inside_a_quoted_cell(tmp_path: Path, size: int):
    rows = "".join(f'"row\n{number}\n"\n' for number in range(11))
    (tmp_path / "items.csv").write_text("text\n" + rows)
    corpus = open_corpus(str(tmp_path / "items.csv"), reading=ReadingOptions(images="optional"))
    found = list(chain.from_iterable(corpus.read(piece) for piece in corpus.cut_into_pieces(size)))
    assert [(row.row, row.item.text) for row in found] == [(n + 1, f"row\n{n}") for n in range(11)]  # pyright: ignore


def test_an_empty_file_is_an_error(tmp_path: Path, split):
    (tmp_path / "items.csv").write_text("")
    with pytest.raises(ValueError, match="no usable item; 0 bad rows"):
        split(tmp_path / "items.csv")


def lay_pictures(folder: Path, picture, num: int) -> None:
    for number in range(num):
        (folder / f"{number}.png").write_bytes(picture(f"#0000{number:02x}"))


OPEN_QUOTES = {
    "it is never closed": ['"Sea view', "a mill", "a barn", "a boat"],
    "another text begins with one": ['"Sea view', "a mill", '"Mill at dusk', "a boat"],
    "another text ends with one": ['"Sea view', "a mill", 'a sign, 5"', "a boat"],
    "words follow the closing one": ['"Sea view" in oil', "a mill", 'the "barn"', "a boat"],
}


@pytest.mark.parametrize("ending", [".tsv", ".tsv.gz", ".csv"])
@pytest.mark.parametrize("texts", OPEN_QUOTES.values(), ids=OPEN_QUOTES)
def test_a_quotation_mark_that_opens_no_cell_swallows_no_row(tmp_path: Path, picture, split, ending, texts):
    texts = [text.replace(",", " of") for text in texts] if ending == ".csv" else texts
    lay_pictures(tmp_path, picture, len(texts))
    mark = "\t" if ending.startswith(".tsv") else ","
    lines = [f"image{mark}text", *(f"{number}.png{mark}{text}" for number, text in enumerate(texts))]
    raw = "\n".join(lines).encode()
    (tmp_path / f"items{ending}").write_bytes(gzip.compress(raw) if ending.endswith("gz") else raw)
    items, bad = split(tmp_path)
    assert [item.text for item in items] == texts
    assert bad == []
    corpus = open_corpus(str(tmp_path / f"items{ending}"), reading=ReadingOptions())
    for size in (1, 2, 3):
        found = chain.from_iterable(corpus.read(piece) for piece in corpus.cut_into_pieces(size))
        assert [row.item.text for row in found] == texts  # pyright: ignore[reportAttributeAccessIssue]


def test_a_row_with_an_open_quote_that_cannot_be_read_is_bad_and_the_next_one_is_read(tmp_path: Path, split):
    rows = 'title,text\none,"open, and a comma\ntwo,"closed, and a comma"\nthree,plain\n'
    (tmp_path / "items.csv").write_text(rows)
    items, bad = split(tmp_path / "items.csv", images="optional")
    assert [item.text for item in items] == ["closed, and a comma", "plain"]
    assert [(row.row, row.reason) for row in bad] == [(1, "wrong_schema")]
    assert bad[0].detail == "3 cells where the header has 2; a quotation mark is not closed as it should be"


def test_a_text_of_several_lines_stays_one_even_if_each_has_a_comma(tmp_path: Path, picture, split):
    lay_pictures(tmp_path, picture, 2)
    text = "a mill, in oil\na barn, in ink\na boat, in chalk"
    (tmp_path / "items.csv").write_text(f'image,text\n0.png,"{text}"\n1.png,"a sign, 5"""\n')
    items, bad = split(tmp_path / "items.csv")
    assert [item.text for item in items] == [text, 'a sign, 5"']
    assert bad == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_what_spreadsheets_save_as_csv_is_read(tmp_path: Path, split, encoding: str, mark: str):
    rows = f'title{mark}text\nPumpe{mark}"groß{mark} 3,5 m"\nVentil{mark}schließt\n'
    raw = rows.encode(encoding)
    (tmp_path / "items.csv").write_bytes(b"\xfe\xff" + raw if encoding == "utf-16-be" else raw)
    items, bad = split(tmp_path / "items.csv", images="optional", language="de")
    assert [(item.title, item.text) for item in items] == [("Pumpe", f"groß{mark} 3,5 m"), ("Ventil", "schließt")]
    assert bad == []
    corpus = open_corpus(str(tmp_path / "items.csv"), reading=ReadingOptions(images="optional", language="de"))
    pieces = list(corpus.cut_into_pieces(1))
    assert [len(list(corpus.read(piece))) for piece in reversed(pieces)] == [1, 1]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(b"text\rone\rtwo\r", "CR alone"), ("text\none\n".encode("utf-16-le"), "bytes that are not text")],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, split, raw: bytes, reason: str):
    (tmp_path / "items.csv").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"items\.csv has .*{reason}.*; save it as UTF-8"):
        split(tmp_path / "items.csv", images="optional")
