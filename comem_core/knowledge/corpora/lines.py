"""Reads text files by byte offset: pieces are byte ranges between rows, so that many readers can share one large file.

Offsets in a compressed file (`.gz`, `.bz2`, `.xz`) count decompressed bytes, and those in a file in UTF-16 the bytes of
its UTF-8. Such files can only be read forward, so a reader keeps them open and continues from its position. Independent
of what a row means.
"""

import codecs
import io
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, Any

from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.rows import Piece

PACKED = (".gz", ".bz2", ".xz")
# What is raised for a packed file that is cut off or is none, and for UTF-16 that is cut off.
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, UnicodeError)
MAX_ROW_BYTES = 64_000_000  # a longer row is not read into memory


def strip_packing(name: str) -> str:
    """Return a file's name in lower case, without the ending of its compression."""
    lower = name.lower()
    return next((lower.removesuffix(ending) for ending in PACKED if lower.endswith(ending)), lower)


def cut(name: str, lines: "Lines", rows: Iterator[tuple[bool, int | None]], size: int) -> Iterator[Piece]:
    """Cut a file into pieces of `size` rows, and close it.

    `rows` reads `lines` from a row on, and yields whether each row holds something and where it ends; None where no
    piece may end, so that its piece is longer.
    """
    start, row, number, filled, place = lines.place, 1, 0, 0, 0
    for number, (holds, place) in enumerate(rows, start=1):
        filled += holds
        if number - row + 1 >= size and place is not None:
            yield Piece(file=name, start=start, stop=place, row=row, num_rows=filled)
            start, row, filled = place, number + 1, 0
    if row <= number:
        assert place is not None
        yield Piece(file=name, start=start, stop=place, row=row, num_rows=filled)
    lines.close()


class Lines:
    """The lines of one file, readable from any byte. A copy in another process opens the file again."""

    def __init__(self, files: Files, name: str):
        self.files, self.name = files, name
        self._stream: IO[bytes] | Recoded | None = None
        self._place = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stream": None, "_place": 0}

    def read(self, start: int, stop: int | None = None) -> Iterator[bytes]:
        """Yield the lines from byte `start` up to `stop`, with their line ends. Of a line that is too long, the first
        `MAX_ROW_BYTES` bytes are yielded and the rest is skipped.

        Afterwards `place` is where the next line begins. Raises ValueError for a damaged file.
        """
        stream = self._open_at(start)
        while stop is None or self._place < stop:
            line = self._read_line(stream)
            if not line:
                return
            rest = line
            while len(rest) == MAX_ROW_BYTES and not rest.endswith(b"\n"):
                rest = self._read_line(stream)
            yield line

    @property
    def place(self) -> int:
        return self._place

    def close(self) -> None:
        """Close the file; reading opens it again."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._place = None, 0

    def _read_line(self, stream: "IO[bytes] | Recoded") -> bytes:
        try:
            line = stream.readline(MAX_ROW_BYTES)
        except BROKEN as error:
            raise _describe_broken(self.name, self._place, error) from error
        self._place += len(line)
        return line

    def _open_at(self, start: int) -> "IO[bytes] | Recoded":
        if self._stream is None or start < self._place:
            self.close()
            try:
                self._stream = _recode(self.files.open(self.name, compression="infer"))
            except BROKEN as error:
                raise _describe_broken(self.name, 0, error) from error
        assert self._stream is not None
        if start != self._place:
            self._stream.seek(start)
            self._place = start
        return self._stream


def _describe_broken(name: str, place: int, error: Exception) -> Exception:
    if isinstance(error, FileNotFoundError | PermissionError):
        return error
    return ValueError(f"{name} is damaged or cut off at byte {place}: {error}")


class Recoded:
    """The lines of a file in UTF-16, in UTF-8. It is read forward from the beginning."""

    def __init__(self, stream: IO[bytes]):
        self._text = io.TextIOWrapper(stream, "utf-16", newline="\n")
        self._place = 0

    def readline(self, limit: int) -> bytes:
        line = self._text.readline(limit).encode()
        self._place += len(line)
        return line

    def seek(self, place: int) -> None:
        """Go on to the line that begins at this byte."""
        while self._place < place and self.readline(MAX_ROW_BYTES):
            pass

    def close(self) -> None:
        self._text.close()


def _recode(stream: IO[bytes]) -> IO[bytes] | Recoded:
    """Return a stream of a file in UTF-8; the byte order mark of UTF-16 tells that it needs to be decoded."""
    marked = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    stream.seek(0)
    return Recoded(stream) if marked else stream
