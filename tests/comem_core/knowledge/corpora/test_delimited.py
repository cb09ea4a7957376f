"""CSV and TSV: quoted line breaks, wrong numbers of cells, bytes that are not text."""

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
