"""CSV and TSV with a header line. Quoted cells may hold line breaks. The header does not count as a row.

The parser that reads the rows also finds where they end, so a piece never begins inside a quoted cell. A quotation mark
that opens no cell, because nothing closes it as it should or because it would swallow rows, is part of its text.
"""

import csv
from collections import deque
from collections.abc import Iterator, Sequence

from comem_core.knowledge.corpora.columns import find_columns
from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.lines import Lines, cut, strip_packing
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow, Refused
from comem_core.knowledge.pictures import IMAGE_ENDINGS

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = tuple(DELIMITERS)
OTHER_DELIMITERS = ",;\t|"  # spreadsheets write `;` where a comma marks decimals
QUOTE = '"'
MAX_CELL = 1_000_000  # characters of a cell with line breaks; a longer text is not kept
Line = tuple[str, int]  # a line, and the byte at which it ends
Cells = list[str] | Refused


class Delimited(Form):
    """One CSV or TSV file, compressed or not; its ending decides, or else its header."""

    def __init__(self, files: Files, name: str, columns: tuple[tuple[str, str], ...] = ()):
        self.files, self.name, self.columns, self.lines = files, name, columns, Lines(files, name)
        self._header: list[str] = []
        self._delimiter = next(mark for ending, mark in DELIMITERS.items() if strip_packing(name).endswith(ending))

    @property
    def header(self) -> list[str]:
        """The names of the columns.

        Raises ValueError for a file without a header.
        """
        if not self._header:
            first = next(self._decode(self.lines, 0), ("", 0))[0]
            if "\0" in first or "\r" in first.rstrip("\r\n"):
                found = "bytes that are not text" if "\0" in first else "lines that end with CR alone"
                raise ValueError(f"{self.name} has {found}; save it as UTF-8 with LF or CRLF at the end of lines")
            self._delimiter = max(self._delimiter, *OTHER_DELIMITERS, key=first.count)
            cells = next(self._read_cells(self.lines, 0), ([], 0))[0]
            if not cells or isinstance(cells, Refused):
                raise ValueError(f"{self.name} begins with no header; expected a line with the names of the columns")
            self._header = cells
        return self._header

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the file into pieces of `size` rows."""
        lines = Lines(self.files, self.name)  # not `self.lines`: rows may be read at the same time
        if next(lines.read(0), None) is None:
            return iter(())
        rows = self._read_cells(lines, 0)
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

    def _read_cells(self, lines: Lines, start: int, stop: int | None = None) -> Iterator[tuple[Cells, int]]:
        """Yield the cells of each row (none for an empty line), or why it has none; and the byte at which it ends."""
        ahead: deque[Line] = deque()
        source = self._decode(lines, start, stop)
        while line := ahead.popleft() if ahead else next(source, None):
            if QUOTE not in line[0]:
                yield self._check(self._split(line[0])), line[1]
                continue
            taken = [line]
            cells = self._read_quoted(taken, ahead, source)
            if cells is None:
                ahead.extendleft(reversed(taken[1:]))
                yield self._check(self._split(line[0]), "; a quotation mark is not closed as it should be"), line[1]
            else:
                yield self._check(cells), taken[-1][1]

    def _read_quoted(self, taken: list[Line], ahead: deque[Line], source: Iterator[Line]) -> list[str] | None:
        """Read a row with quoted cells and add its further lines to `taken`; None if its quotation marks are text."""

        def take() -> Iterator[str]:
            yield taken[0][0]
            num_characters = 0
            while num_characters < MAX_CELL and (line := ahead.popleft() if ahead else next(source, None)):
                taken.append(line)
                num_characters += len(line[0])
                yield line[0]

        csv.field_size_limit(2 * MAX_CELL + len(taken[0][0]))
        try:
            cells = next(csv.reader(take(), delimiter=self._delimiter, strict=True))
        except csv.Error:
            return None
        return None if len(taken) > 1 and self._is_every_line_a_row([line for line, _ in taken]) else cells

    def _is_every_line_a_row(self, lines: Sequence[str]) -> bool:
        """Tell whether the lines of a quoted cell look like rows of their own, which the quotation mark would swallow.

        Each has the header's number of cells. A line of a text hardly has tabs; but it may have commas, so in other
        files each must also name a picture where the column of pictures is.
        """
        rows = [self._split(line) for line in lines]
        if len(self._header) < 2 or any(len(cells) != len(self._header) for cells in rows):
            return False
        places = [self._header.index(name) for name in find_columns(tuple(self._header), self.columns).get("image", ())]
        pictured = any(all(cells[place].strip().lower().endswith(IMAGE_ENDINGS) for cells in rows) for place in places)
        return self._delimiter == "\t" or pictured

    def _split(self, line: str) -> list[str]:
        line = line.rstrip("\r\n")
        return line.split(self._delimiter) if line else []

    def _check(self, cells: list[str], why: str = "") -> Cells:
        if cells and self._header and len(cells) != len(self._header):
            return Refused("wrong_schema", f"{len(cells)} cells where the header has {len(self._header)}{why}")
        return cells
