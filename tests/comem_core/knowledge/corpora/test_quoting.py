"""Quotation marks around several lines of a CSV or TSV: one cell, rows, or a bad row that says that it is not sure."""

import bz2
import csv
import gzip
import io
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comem_core.knowledge.corpora import BadRow, FoundItem, ReadingOptions, open_corpus

PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}
TEXTS_ALONE = ReadingOptions(images="optional", language="en")


def read_rows(file: Path, size: int = 1024, reading: ReadingOptions = TEXTS_ALONE) -> list[FoundItem | BadRow]:
    """Read a table in pieces, the last one first, and return its rows in order."""
    corpus = open_corpus(str(file), reading=reading)
    pieces = list(corpus.cut_into_pieces(size))
    parts = [list(corpus.read(piece)) for piece in reversed(pieces)]
    assert sum(piece.num_rows for piece in pieces) == sum(map(len, parts))
    return list(chain.from_iterable(reversed(parts)))


def describe(rows: list[FoundItem | BadRow]) -> list[str]:
    return [f"bad: {row.reason}" if isinstance(row, BadRow) else row.item.text for row in rows]


def write_plainly(file: Path, rows: list[list[str]], mark: str) -> Path:
    """Write a table as one who joins cells and knows no quoting."""
    raw = "".join(mark.join(cells) + "\n" for cells in rows).encode()
    file.write_bytes(PACK.get(file.suffix, bytes)(raw))
    return file


LINES = ['"Sea view', "a mill", "a barn", 'a sign of 5"', "a boat"]  # closed "properly" by the fourth


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", [True, False], ids=["text first", "text last"])
def test_rows_between_an_open_quote_and_a_later_mark_are_never_joined(
    tmp_path: Path, packed: str, mark: str, first: bool
):
    names = ["text", "title"] if first else ["title", "text"]
    rows = [names, *([text, f"no {n}"] if first else [f"no {n}", text] for n, text in enumerate(LINES))]
    file = write_plainly(tmp_path / f"items.{'tsv' if mark == chr(9) else 'csv'}{packed}", rows, mark)
    for size in (1, 2, 3, 99):
        found = read_rows(file, size)
        if mark == "\t":
            assert describe(found) == LINES
            continue
        assert describe(found) == ["bad: ambiguous_quotes"] * 4 + ["a boat"]
        assert [row.row for row in found] == [1, 2, 3, 4, 5]
        assert isinstance(found[0], BadRow) and found[0].detail.startswith("lines 2 to 5 (to ")


@pytest.mark.parametrize(
    ("names", "before", "text_of"),
    [
        (["image", "text"], "{}.png", None),
        (["language", "text"], "en", None),
        (["source", "text"], "https://example.org/{}", None),
        (["entity_id", "text"], "Q{}", None),
    ],
)
def test_a_column_with_values_of_its_own_shows_that_lines_are_rows(
    tmp_path: Path, picture, names: list[str], before: str, text_of
):
    for number in range(len(LINES)):
        (tmp_path / f"{number}.png").write_bytes(picture(f"#0000{number:02x}"))
    rows = [names, *([before.format(number), text] for number, text in enumerate(LINES))]
    file = write_plainly(tmp_path / "items.csv", rows, ",")
    assert describe(read_rows(file)) == LINES


@pytest.mark.parametrize("other", ['a "red" barn', '"Mill" at dusk', 'a 5" sign, and a 6" one'])
def test_a_file_that_leaves_marks_bare_elsewhere_has_rows(tmp_path: Path, other: str):
    lines = [*LINES, other]
    rows = [["title", "text"], *([f"no {number}", text] for number, text in enumerate(lines))]
    found = describe(read_rows(write_plainly(tmp_path / "items.csv", rows, ",")))
    assert found[:5] == LINES
    assert found[5] == (other if "," not in other else "bad: wrong_schema")


def test_a_mark_typed_into_a_file_that_quotes_joins_no_rows(tmp_path: Path):
    lines = ['no 1,"closed, and a comma"', *(f"no {2 + n},{text}" for n, text in enumerate(LINES))]
    file = tmp_path / "items.csv"
    file.write_text("\n".join(["title,text", *lines]))
    expected = ["closed, and a comma", *["bad: ambiguous_quotes"] * 4, "a boat"]
    assert [describe(read_rows(file, size)) for size in (1, 2, 99)] == [expected] * 3


def test_a_row_with_a_comma_among_the_swallowed_ones_hides_none(tmp_path: Path):
    lines = ['one,"Sea view', "two,a mill, in oil", "three,a barn, in ink", 'four,a sign of 5"', "five,a boat"]
    (tmp_path / "items.csv").write_text("\n".join(["title,text", *lines]))
    assert describe(read_rows(tmp_path / "items.csv")) == [*["bad: ambiguous_quotes"] * 4, "a boat"]


@pytest.mark.parametrize("mark", [",", "\t"])
@pytest.mark.parametrize("odd", ["", "only one cell"], ids=["all are rows", "one is not"])
@pytest.mark.parametrize("last", ['the ""big"" one"', '"', 'a 5"" pipe"'], ids=["doubled", "alone", "an inch"])
def test_what_looks_like_quoting_in_the_last_swallowed_row_hides_none(tmp_path: Path, mark: str, odd: str, last: str):
    rows = [["title", "text"], ["one", '"Sea view'], *([f"no {n}", f"a mill {n}"] for n in range(5)), ["six", last]]
    rows += [[odd], ["seven", "a boat"]] if odd else [["seven", "a boat"]]
    found = read_rows(write_plainly(tmp_path / f"items.{'tsv' if mark == chr(9) else 'csv'}", rows, mark))
    assert len(found) == len(rows) - 1
    assert "a boat" in describe(found)[-1]


def test_a_closed_quote_that_gives_the_wrong_number_of_cells_takes_no_other_row(tmp_path: Path):
    lines = ['a,"Sea view,en', "b,a mill,en", 'c,a sign of 5",en,more', "d,a boat,en"]
    (tmp_path / "items.csv").write_text("\n".join(["title,text,language", *lines]))
    assert describe(read_rows(tmp_path / "items.csv")) == ['"Sea view', "a mill", "bad: wrong_schema", "a boat"]


def test_in_a_file_of_one_column_only_other_rows_show_what_a_mark_means(tmp_path: Path):
    unsure, quoting, plain = (tmp_path / f"{name}.csv" for name in ("unsure", "quoting", "plain"))
    unsure.write_text("text\na boat\n" + "\n".join(LINES))
    assert describe(read_rows(unsure)) == ["a boat", *["bad: ambiguous_quotes"] * 4, "a boat"]
    quoting.write_text('text\na boat\n"one, two"\n"first line\nsecond line"\n')
    assert describe(read_rows(quoting)) == ["a boat", "one, two", "first line\nsecond line"]
    plain.write_text('text\nthe "red" boat\n"first line\nsecond line"\n')
    assert describe(read_rows(plain)) == ['the "red" boat', '"first line', 'second line"']


WORDS = st.sampled_from(["mill", "a barn", "3,5 m", 'the "red" one', "x;y", "a|b", "blue, green", "né"])
CELLS = st.lists(WORDS, min_size=1, max_size=4).map("\n".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.sampled_from([",", ";", "\t"]),
    size=st.sampled_from([1, 3, 99]),
)
def test_what_a_program_quoted_comes_back_whole_or_is_named(tmp_path: Path, rows, quoting, mark, size):
    """Every row is read with the text that was written, or its lines are bad rows; no text is any other.

    No text has a tab: in a TSV without other quotation marks, lines with as many tabs as a row are rows.
    """
    stream = io.StringIO()
    csv.writer(stream, delimiter=mark, quoting=quoting, lineterminator="\n").writerows([("title", "text"), *rows])
    file = tmp_path / ("items.tsv" if mark == "\t" else "items.csv")
    file.write_text(stream.getvalue())
    found = read_rows(file, size)
    texts = [row.item.text for row in found if isinstance(row, FoundItem)]
    bad = [row for row in found if isinstance(row, BadRow)]
    written = iter(text for _, text in rows)
    assert all(any(text == each for each in written) for text in texts)
    assert bad or len(texts) == len(rows)
    assert {row.reason for row in bad} <= {"ambiguous_quotes"}
    assert not (bad and quoting == csv.QUOTE_ALL)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from(["mill", '"Sea view', '"Mill"', 'sign of 5"', 'a "red" barn', "boat"]), min_size=1),
    mark=st.sampled_from([",", ";", "\t"]),
    size=st.sampled_from([1, 3, 99]),
)
def test_a_table_written_without_quoting_has_a_row_for_each_line(tmp_path: Path, texts, mark, size):
    rows = [["title", "text"], *([f"no {number}", text] for number, text in enumerate(texts))]
    file = write_plainly(tmp_path / ("items.tsv" if mark == "\t" else "items.csv"), rows, mark)
    found = read_rows(file, size)
    assert len(found) == len(texts)
    for row, text in zip(found, texts, strict=True):
        assert isinstance(row, BadRow) or row.item.text in (text, text.strip('"'))


def test_long_texts_of_many_lines_stay_whole(tmp_path: Path):
    text = "First line, with a comma\nsecond, third\n\nas follows:\nx,y\nThe end, at last."
    with (tmp_path / "items.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["title", "text"], ["one", "short, said"], ["two", text], ["three", "a boat"]])
    assert describe(read_rows(tmp_path / "items.csv")) == ["short, said", text, "a boat"]
