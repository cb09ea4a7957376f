"""Decides whether the quotation marks of a CSV or TSV around several lines hold one cell, or swallow rows.

Both are read alike by every parser, so each reading is compared with what it says of the file. If the lines are rows,
each of them has the cells of a row. If they are one cell, a program wrote the file, and that program quotes every cell
that needs it, and never writes a quotation mark into a cell without quoting it. What stays unsure is not decided.
Independent of files.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from comem_core.knowledge.corpora.columns import find_columns
from comem_core.knowledge.corpora.lines import MAX_ROW_BYTES
from comem_core.knowledge.languages import is_language
from comem_core.knowledge.pictures import IMAGE_ENDINGS

QUOTE = '"'
MAX_CELL = 1_000_000  # characters of a cell with line breaks; a longer text is not kept
FEWEST_QUOTED_ROWS = 3
PROSE = ",;"  # delimiters that a text has too, with a space behind them
ADDRESSES = ("http://", "https://")
ENTITY = re.compile(r"Q\d+")

Found = Literal["cell", "rows", "unsure"]


@dataclass(frozen=True)
class Habits:
    """What the beginning of a file shows: a cell that was quoted because it had to be; a bare quotation mark; a header
    with every cell quoted."""

    quotes: bool
    leaves_bare: bool
    quotes_all: bool


@dataclass(frozen=True)
class Shape:
    """How the rows of a file are written: its header's cells, its delimiter, and the columns that are renamed."""

    header: tuple[str, ...]
    delimiter: str
    columns: tuple[tuple[str, str], ...] = ()

    def split(self, line: str) -> list[str]:
        """Return the cells of a line whose quotation marks are text; none for an empty line."""
        line = line.rstrip("\r\n")
        return line.split(self.delimiter) if line else []

    def read_row(self, lines: Iterator[str]) -> list[str] | None:
        """Return the cells of the row that begins with the next line; None if a quotation mark is not closed."""
        csv.field_size_limit(MAX_ROW_BYTES + 2 * MAX_CELL)
        try:
            return next(csv.reader(lines, delimiter=self.delimiter, strict=True), [])
        except csv.Error:
            return None

    def is_like_row(self, line: str) -> bool:
        """Tell whether a line has the delimiters of a row. A comma of a sentence has a space behind it."""
        mark = self.delimiter
        spaced = mark in PROSE and not any(name.startswith(" ") for name in self.header)
        plain = line.replace(f"{mark} ", "") if spaced else line
        return bool(line.strip()) and plain.count(mark) == len(self.header) - 1

    def has_row_values(self, lines: Sequence[str]) -> bool:
        """Tell whether each line is surely a row: it has the header's number of cells, and in one column every line has
        a picture's name, a language, an address or an entity."""
        rows = [self.split(line) for line in lines]
        if len(self.header) < 2 or any(len(cells) != len(self.header) for cells in rows):
            return False
        places = find_columns(self.header, self.columns)
        columns = [(ours, self.header.index(name)) for ours in VALUES for name in places.get(ours, ())]
        return any(all(VALUES[ours](cells[place].strip(" \"'")) for cells in rows) for ours, place in columns)


def judge_lines(lines: Sequence[str], shape: Shape, habits: Habits) -> Found:
    """Decide what several lines are that are read as one row with a quoted cell. `lines` are two or more."""
    begin = [line.startswith(QUOTE) for line in lines]
    if habits.quotes_all and begin[0] and not any(begin[1:]):
        return "cell"  # the other lines do not begin as rows do
    if shape.has_row_values(lines):
        return "rows"
    like_rows = [shape.is_like_row(line) for line in lines]
    mostly_rows = 2 * sum(like_rows[1:]) > len(lines) - 1
    if not any(like_rows[1:]) or (_has_marks_of_quoting(lines, shape) and not mostly_rows):
        return "cell"
    if habits.quotes and not habits.leaves_bare:
        # One quotation mark that was typed into such a file still swallows rows.
        all_rows = like_rows[0] and like_rows[-1] and mostly_rows
        return "unsure" if all_rows and len(shape.header) > 1 else "cell"
    has_tabs = shape.delimiter == "\t" and len(shape.header) > 1 and all(like_rows)  # a text hardly has them
    return "rows" if not habits.quotes and (habits.leaves_bare or has_tabs) else "unsure"


def find_habits(lines: Sequence[str], shape: Shape, *, whole: bool) -> Habits:
    """Find out from the first lines of a file, its header among them, how it is quoted; `whole`: there are no more."""
    quotes_all = _is_all_quoted(shape.split(lines[0]))
    quotes = quotes_all and len(shape.header) > 1
    bare, num_quoted, num_plain, place = False, 0, 0, 1
    while place < len(lines) and not (quotes and bare):
        line, taken = lines[place], 1
        if QUOTE not in line:
            num_plain += bool(line.strip())
        else:
            num_quoted += 1
            left = _Counted(iter(lines[place : place + 1] if bare else lines[place:]))
            cells = shape.read_row(left)
            if cells is None:
                bare = bare or whole or place + left.num < len(lines)
            else:
                taken = max(left.num, 1)
                quotes = quotes or _was_quoted_of_need(lines[place : place + taken], cells, shape)
                bare = bare or cells == shape.split(line)
        place += taken
    every_row = num_quoted >= FEWEST_QUOTED_ROWS and not num_plain
    return Habits(quotes or (every_row and not bare), bare, quotes_all)


class _Counted(Iterator[str]):
    """Lines, and how many of them were taken."""

    def __init__(self, lines: Iterator[str]):
        self._lines, self.num = lines, 0

    def __next__(self) -> str:
        line = next(self._lines)
        self.num += 1
        return line


def _was_quoted_of_need(lines: Sequence[str], cells: Sequence[str], shape: Shape) -> bool:
    if len(cells) != len(shape.header):
        return False
    naive = shape.split(lines[0])
    if len(lines) > 1:
        return len(cells) > 1 and not any(map(shape.is_like_row, lines[1:]))
    return len(naive) != len(cells) or _has_marks_of_quoting(lines, shape) or (len(naive) > 1 and _is_all_quoted(naive))


def _is_all_quoted(cells: Sequence[str]) -> bool:
    return bool(cells) and all(len(cell) > 1 and cell[0] == cell[-1] == QUOTE for cell in cells)


def _has_marks_of_quoting(lines: Sequence[str], shape: Shape) -> bool:
    """Tell whether there is what hardly stands in a text: a doubled quotation mark in a cell, or one alone."""
    cells = [cell for line in lines for cell in shape.split(line)]
    return any(cell == QUOTE or (2 * QUOTE in cell and len(cell) > 2) for cell in cells)


def _is_picture(value: str) -> bool:
    return value.lower().endswith(IMAGE_ENDINGS) or _is_address(value)


def _is_address(value: str) -> bool:
    return value.lower().startswith(ADDRESSES)


VALUES: Mapping = {
    "image": _is_picture,
    "language": is_language,
    "source": _is_address,
    "entity_id": lambda value: ENTITY.fullmatch(value) is not None,
}
