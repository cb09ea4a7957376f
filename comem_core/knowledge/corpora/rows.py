"""The words of reading a corpus: how rows are read, which part is read at once, and what a row gives.

Independent of files and formats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.languages import check_language
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE, off_at


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How rows are read: what the rows themselves do not say, and what is refused.

    `language`, `source` and `licence` hold for rows without; None: the language is identified from the text, the source
    is the file, the licence "unknown". With `images` "optional" a row without a picture is an item of text alone.
    Addresses are fetched only with `allow_urls`. Pictures larger than `max_side` (pixels) are made smaller, keeping
    their shape; those of more than `max_pixels` are refused before they are decoded. `columns` names columns that are
    called otherwise than `corpora.columns` knows: pairs such as ("text", "beschreibung").
    """

    language: str | None = field(default=None, metadata=OFF_AT_NONE)
    source: str | None = field(default=None, metadata=OFF_AT_NONE)
    licence: str | None = field(default=None, metadata=OFF_AT_NONE)
    images: Literal["needed", "optional"] = "needed"
    allow_urls: bool = field(default=False, metadata=OFF_AT_FALSE)
    max_side: int = 1024
    max_pixels: int = 50_000_000
    columns: tuple[tuple[str, str], ...] = field(default=(), metadata=off_at(()))

    def __post_init__(self) -> None:
        """Refuse a language that is none. Raises ValueError."""
        if self.language is not None:
            check_language(self.language)


@dataclass(frozen=True)
class BadRow:
    """A row that gave no item: the file (its name in the corpus), the row (from 1), the reason as a word, the detail as
    a sentence."""

    file: str
    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class FoundItem:
    """A row that gave an item: where it stood, and its picture's two hashes (`knowledge.pictures`) if it has one."""

    file: str
    row: int
    item: KnowledgeItem
    hashes: tuple[int, int] | None


class Refused(Exception):
    """Why a row gives no item."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a corpus that one reader reads from begin to end.

    `form` is the place of its form in the corpus; `start` and `stop` count what the form counts: bytes of a text file,
    rows of a table. `row` is the number of the first row. A folder's piece carries its `entries` itself.
    """

    form: int = 0
    file: str = ""
    start: int = 0
    stop: int = 0
    row: int = 1
    entries: tuple[Any, ...] = ()


@dataclass(frozen=True)
class RawRow:
    """A row as it stands: its fields by the file's own names, or why there are none."""

    file: str
    row: int
    fields: Mapping[str, Any] | KnowledgeItem | Refused
