"""CSV and TSV with a header line. Quoted cells may hold line breaks. The header does not count as a row.

The parser that reads the rows also finds where they end, so a piece never begins inside a quoted cell. A quotation mark
that opens no cell, because nothing closes it as it should or because it would swallow rows, is part of its text. Lines
that may be one cell or several rows (`corpora.quoting`) are bad rows, each with its number.
"""

import re
from collections import deque
from collections.abc import Iterator
from functools import cached_property
from itertools import islice

from comem_core.knowledge.corpora.columns import check_names
from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.lines import Lines, cut, strip_packing
from comem_core.knowledge.corpora.quoting import MAX_CELL, QUOTE, Habits, Shape, find_habits, judge_lines
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow, Refused

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = tuple(DELIMITERS)
OTHER_DELIMITERS = ",;\t|"  # spreadsheets write `;` where a comma marks decimals
LINES_OF_HABITS = 2000
STATED = re.compile(r'"?sep=([^"\w\r\n])"?\r?\n?', re.IGNORECASE)
Line = tuple[str, int]  # a line, and the byte at which it ends
Cells = list[str] | Refused


class Delimited(Form):
    """One CSV or TSV file, compressed or not. A first line `sep=;` decides, or the header, or else the ending."""

    def __init__(self, files: Files, name: str, columns: tuple[tuple[str, str], ...] = ()):
        self.files, self.name, self.columns, self.lines = files, name, columns, Lines(files, name)
        self._header: list[str] = []
        usual = next(mark for ending, mark in DELIMITERS.items() if strip_packing(name).endswith(ending))
        self._shape = Shape((), usual, columns)

    @property
    def header(self) -> list[str]:
        """The names of the columns.

        Raises ValueError for a file without a header.
        """
        if not self._header:
            first = next(self._decode(self.lines, self._start), ("", 0))[0]
            if "\0" in first or "\r" in first.rstrip("\r\n"):
                found = "bytes that are not text" if "\0" in first else "lines that end with CR alone"
                raise ValueError(f"{self.name} has {found}; save it as UTF-8 with LF or CRLF at the end of lines")
            delimiter = self._stated[0] or max(self._shape.delimiter, *OTHER_DELIMITERS, key=first.count)
            self._shape = Shape((), delimiter, self.columns)
            cells = next(self._read_cells(self.lines, self._start), ([], 0))[0]
            if not cells or isinstance(cells, Refused):
                raise ValueError(f"{self.name} begins with no header; expected a line with the names of the columns")
            check_names(self.name, cells, self.columns)
            self._header, self._shape = cells, Shape(tuple(cells), delimiter, self.columns)
        return self._header

    @property
    def _start(self) -> int:
        """The byte at which the header begins."""
        return self._stated[1]

    @cached_property
    def _stated(self) -> tuple[str, int]:
        """The delimiter that a first line such as `sep=;` states for Excel, and where that line ends; else "" and 0."""
        line, end = next(self._decode(Lines(self.files, self.name), 0), ("", 0))
        match = STATED.fullmatch(line)
        return (match[1], end) if match else ("", 0)

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the file into pieces of `size` rows."""
        lines = Lines(self.files, self.name)  # not `self.lines`: rows may be read at the same time
        if next(lines.read(0), None) is None:
            return iter(())
        rows = self._read_cells(lines, self._start)
        assert self.header and next(rows)
        return cut(self.name, lines, ((bool(cells), end) for cells, end in rows), size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        header = self.header
        for number, (cells, _) in enumerate(self._read_cells(self.lines, piece.start, piece.stop), start=piece.row):
            if isinstance(cells, Refused):
                yield RawRow(self.name, number, cells)
            elif cells:
                yield RawRow(self.name, number, dict(zip(header, cells, strict=True)))

    def _decode(self, lines: Lines, start: int, stop: int | None = None) -> Iterator[Line]:
        """Yield lines as texts. Invalid UTF-8 is kept, to be reported later."""
        for line in lines.read(start, stop):
            yield (
                line.decode("utf-8" if start or lines.place > len(line) else "utf-8-sig", "surrogateescape"),
                lines.place,
            )

    def _read_cells(self, lines: Lines, start: int, stop: int | None = None) -> Iterator[tuple[Cells, int | None]]:
        """Yield the cells of each row (none for an empty line), or why it has none; and the byte at which it ends.

        The byte is None for a row that only means something together with the next one.
        """
        ahead: deque[Line] = deque()
        source = self._decode(lines, start, stop)
        while line := ahead.popleft() if ahead else next(source, None):
            if QUOTE not in line[0]:
                yield self._check(self._shape.split(line[0])), line[1]
                continue
            taken = [line]
            cells = self._read_quoted(taken, ahead, source)
            if cells is None:
                ahead.extendleft(reversed(taken[1:]))
                why = "; a quotation mark is not closed as it should be"
                yield self._check(self._shape.split(line[0]), why), line[1]
            elif isinstance(cells, Refused):
                yield from ((cells if text.strip() else [], None) for text, _ in taken[:-1])
                yield cells, taken[-1][1]
            else:
                yield self._check(cells), taken[-1][1]

    def _read_quoted(self, taken: list[Line], ahead: deque[Line], source: Iterator[Line]) -> Cells | None:
        """Read a row with quoted cells and add its further lines to `taken`.

        None if its quotation marks are text; why they cannot be read if that is not sure.
        """

        def take() -> Iterator[str]:
            yield taken[0][0]
            num_characters = 0
            while num_characters < MAX_CELL and (line := ahead.popleft() if ahead else next(source, None)):
                taken.append(line)
                num_characters += len(line[0])
                yield line[0]

        cells = self._shape.read_row(take())
        if cells is None or len(taken) == 1 or not self._header:
            return cells
        if len(cells) != len(self._header):
            return None
        found = judge_lines([line for line, _ in taken], self._shape, self._habits)
        return self._describe_unsure(taken) if found == "unsure" else cells if found == "cell" else None

    def _describe_unsure(self, taken: list[Line]) -> Refused:
        first, last = self._counter.find_number(taken[0][1]), taken[-1][0].strip()
        return Refused(
            "ambiguous_quotes",
            f"lines {first} to {first + len(taken) - 1} (to {last[-40:]!r}) are one quoted cell or rows of their own; "
            "write the quotation marks of a text twice and quote its cell, or save the table as JSON Lines or Parquet",
        )

    @cached_property
    def _habits(self) -> Habits:
        lines = self._decode(Lines(self.files, self.name), self._start)
        first = [line for line, _ in islice(lines, LINES_OF_HABITS)]
        return find_habits(first, self._shape, whole=next(lines, None) is None)

    @cached_property
    def _counter(self) -> "_LineCounter":
        return _LineCounter(Lines(self.files, self.name))

    def _check(self, cells: list[str], why: str = "") -> Cells:
        if cells and self._header and len(cells) != len(self._header):
            return Refused("wrong_schema", f"{len(cells)} cells where the header has {len(self._header)}{why}")
        return cells


class _LineCounter:
    """Finds the numbers of lines. It reads forward from the last one that was asked for."""

    def __init__(self, lines: Lines):
        self._lines, self._place, self._number = lines, 0, 0

    def find_number(self, place: int) -> int:
        """Return the number, from 1, of the line that ends at a byte."""
        if place < self._place:
            self._place = self._number = 0
        self._number += sum(1 for _ in self._lines.read(self._place, place))
        self._place = place
        return self._number
