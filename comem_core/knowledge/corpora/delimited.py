"""CSV and TSV with a header line. Quoted cells may hold line breaks. The header does not count as a row.

The parser that reads the rows also finds where they end, so a piece never begins inside a quoted cell.
"""

import csv
import sys
from collections.abc import Iterator

from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.lines import Lines, cut, strip_packing
from comem_core.knowledge.corpora.rows import Piece, RawRow, Refused

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = tuple(DELIMITERS)
MAX_CELL = 16_000_000  # characters; a quote that is never closed would otherwise include the rest of the file


class Delimited:
    """One CSV or TSV file, compressed or not; its ending decides."""

    def __init__(self, files: Files, name: str):
        self.files, self.name, self.lines = files, name, Lines(files, name)
        self.delimiter = next(mark for ending, mark in DELIMITERS.items() if strip_packing(name).endswith(ending))
        self._header: list[str] | None = None

    @property
    def header(self) -> list[str]:
        """The names of the columns.

        Raises ValueError for a file without a header.
        """
        if self._header is None:
            self._header = next(self._read_cells(self.lines, 0), None)
        if not isinstance(self._header, list) or not self._header:
            raise ValueError(f"{self.name} begins with no header; expected a line with the names of the columns")
        return self._header

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        """Cut the file into pieces of `size` rows."""
        lines = Lines(self.files, self.name)  # not `self.lines`: rows may be read at the same time
        rows = self._read_cells(lines, 0)
        next(rows, None)  # the header
        return cut(self.name, lines, rows, size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        header = self.header
        for number, cells in enumerate(self._read_cells(self.lines, piece.start, piece.stop), start=piece.row):
            if not cells:
                continue  # an empty line
            if isinstance(cells, Refused):
                yield RawRow(self.name, number, cells)
            elif len(cells) != len(header):
                found = f"{len(cells)} cells where the header has {len(header)}"
                yield RawRow(self.name, number, Refused("wrong_schema", found))
            else:
                yield RawRow(self.name, number, dict(zip(header, cells, strict=True)))

    def _read_cells(self, lines: Lines, start: int, stop: int | None = None) -> Iterator:
        """Yield the cells of each row, or the reason why it has none. Invalid UTF-8 is kept, to be reported later."""
        csv.field_size_limit(min(MAX_CELL, sys.maxsize))
        encoding = "utf-8-sig" if start == 0 else "utf-8"
        texts = (line.decode(encoding, "surrogateescape") for line in lines.read(start, stop))
        reader = csv.reader(texts, delimiter=self.delimiter)
        while True:
            try:
                yield next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Refused("wrong_schema", f"not a row of cells: {error}")
