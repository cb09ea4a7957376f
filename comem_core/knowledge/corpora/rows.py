"""The types for reading a corpus: reading options, pieces, raw rows, and what a row becomes.

Independent of files and formats.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.languages import check_language
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE, off_at


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How rows are read: defaults for what rows lack, and limits.

    `language`, `source` and `licence` apply to rows that lack them. Their None means: the language is identified from
    the text, the source is the file, the licence is "unknown". With `images` "optional", a row without a picture is an
    item of text alone. Addresses are fetched only with `allow_urls`. Pictures larger than `max_side` (pixels) are
    scaled down; those of more than `max_pixels` are refused before they are decoded. `columns` adds column names that
    `corpora.columns` does not know, in pairs such as ("text", "beschreibung"). Paths and links lead only into the
    corpus' own folder and into the folders `roots`.
    """

    language: str | None = field(default=None, metadata=OFF_AT_NONE)
    source: str | None = field(default=None, metadata=OFF_AT_NONE)
    licence: str | None = field(default=None, metadata=OFF_AT_NONE)
    images: Literal["needed", "optional"] = "needed"
    allow_urls: bool = field(default=False, metadata=OFF_AT_FALSE)
    max_side: int = 1024
    max_pixels: int = 50_000_000
    columns: tuple[tuple[str, str], ...] = field(default=(), metadata=off_at(()))
    roots: tuple[str, ...] = field(default=(), metadata=off_at(()))

    def __post_init__(self) -> None:
        """Refuse an invalid language tag. Raises ValueError."""
        if self.language is not None:
            check_language(self.language)


@dataclass(frozen=True)
class BadRow:
    """A row that gave no item: its file (the name in the corpus), its row (from 1), a one-word reason, and a sentence
    of detail."""

    file: str
    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class FoundItem:
    """A row that gave an item: where it is, and the two hashes of its picture (`knowledge.pictures`), if any.

    Without `language_certain`, the text is too short to tell its language, which is guessed from the whole file.
    `row_key` and `picture_key` are what it is found again by (`knowledge.known_rows`), `as_it_was` says that it was
    found so, and `is_decoded` that its picture was not.
    """

    file: str
    row: int
    item: KnowledgeItem
    hashes: tuple[int, int] | None
    language_certain: bool = True
    row_key: bytes | None = None
    picture_key: bytes | None = None
    as_it_was: bool = False
    is_decoded: bool = False


@dataclass(frozen=True)
class CorpusFile:
    """A table, or a folder with the number of its files that are read; or a file that is left out, with the reason."""

    file: str
    num_files: int = 1
    reason: str | None = None
    detail: str | None = None


class Refused(Exception):
    """Why a row gives no item."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a corpus that one reader reads from beginning to end.

    `form` is the index of its form in the corpus. `start` and `stop` are bytes of a text file, or rows of a table.
    `row` is the number of the first row; `num_rows` counts the rows, without empty lines. A folder's piece holds its
    `entries` itself.
    """

    form: int = 0
    file: str = ""
    start: int = 0
    stop: int = 0
    row: int = 1
    num_rows: int
    entries: tuple[Any, ...] = ()


@dataclass(frozen=True)
class RawRow:
    """A row as read: its fields under the file's own names, a ready item, or the reason why there is neither."""

    file: str
    row: int
    fields: Mapping[str, Any] | KnowledgeItem | Refused


@dataclass(frozen=True)
class UnreadRow:
    """A row whose files need not be opened if `stamp` is known; `read` opens them. `needs_language`: its file's name
    does not state the language."""

    stamp: bytes | None
    needs_language: bool
    file: str
    row: int
    read: Callable[[], RawRow]


class Form(Protocol):
    """One file format of items: it can be cut into pieces, and reads the rows of a piece. Small enough for a worker."""

    name: str
    beside: tuple[str, ...] = ()
    """Folders beside that of the corpus where pictures of its rows may be, because the format has them there."""

    def cut_into_pieces(self, size: int) -> Iterator[Piece]: ...

    def read_rows(self, piece: Piece) -> Iterator[RawRow]: ...

    def list_rows(self, piece: Piece) -> Iterator[RawRow | UnreadRow]:
        """Yield the same rows; a form of many files does not open them."""
        return self.read_rows(piece)

    def read_names(self, piece: Piece) -> Iterator[RawRow]:
        """Read rows to see which files they name; a form that holds pictures leaves them out."""
        return self.read_rows(piece)

    def list_files(self) -> Iterator[CorpusFile]:
        """Yield what is read, and what is left out."""
        yield CorpusFile(self.name)

    def count_rows(self, piece: Piece) -> Counter[str]:
        """Count the rows of a piece by the names that `list_files` yields."""
        return Counter({self.name: piece.num_rows})
