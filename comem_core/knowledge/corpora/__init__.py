"""Reads knowledge items: from folders, JSONL, CSV, TSV, Parquet, WIT, saved datasets, and shipped corpora.

A corpus is a local path or any address that fsspec knows. It is streamed one row at a time, in pieces that many readers
can share. A bad row is yielded as `BadRow` with its reason, and reading goes on; a corpus without a good row is an
error. Independent of models and of where items are stored afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from comem_core.knowledge.corpora import delimited, jsonl, parquet
from comem_core.knowledge.corpora.built_in import BUILT_IN, BuiltIn
from comem_core.knowledge.corpora.delimited import Delimited
from comem_core.knowledge.corpora.files import Files, find_files
from comem_core.knowledge.corpora.folder import TEXT_ENDINGS, Folder
from comem_core.knowledge.corpora.hf_datasets import ArrowStream, find_arrow_files
from comem_core.knowledge.corpora.jsonl import JsonLines
from comem_core.knowledge.corpora.lines import PACKED, strip_packing
from comem_core.knowledge.corpora.making import ItemMaker
from comem_core.knowledge.corpora.parquet import Parquet
from comem_core.knowledge.corpora.rows import BadRow, FoundItem, Piece, RawRow, ReadingOptions
from comem_core.knowledge.downloads import Downloads
from comem_core.knowledge.items import KnowledgeItem

__all__ = [
    "BUILT_IN",
    "BadRow",
    "Corpus",
    "FoundItem",
    "Piece",
    "ReadingOptions",
    "check_corpus",
    "open_corpus",
    "read_corpus",
]

TEXT_TABLES = (*jsonl.ENDINGS, *delimited.ENDINGS)
TABLES = (*TEXT_TABLES, *(ending + packed for ending in TEXT_TABLES for packed in PACKED), *parquet.ENDINGS)
ROWS_OF_A_PIECE = 1024
NUM_REASONS_SHOWN = 5


class Form(Protocol):
    """One file format of items: it can be cut into pieces, and reads the rows of a piece. Small enough for a worker."""

    def cut_into_pieces(self, size: int) -> Iterator[Piece]: ...

    def read_rows(self, piece: Piece) -> Iterator[RawRow]: ...


@dataclass(frozen=True)
class Corpus:
    """An opened corpus: where its files are, how its rows are read, and which forms they have."""

    name: str
    files: Files | None
    reading: ReadingOptions
    forms: tuple[Form, ...]
    downloads: Downloads | None

    def cut_into_pieces(self, size: int = ROWS_OF_A_PIECE) -> Iterator[Piece]:
        """Cut the corpus into pieces of at most `size` rows, in row order."""
        for place, form in enumerate(self.forms):
            for piece in form.cut_into_pieces(size):
                yield replace(piece, form=place)

    def read(self, piece: Piece) -> Iterator[FoundItem | BadRow]:
        """Yield the item or fault of each row of a piece. Equal items are not detected: they may be in two pieces."""
        yield from self._maker.make_items(self.forms[piece.form].read_rows(piece))

    def name_content(self) -> str:
        """Hash the corpus by the names, sizes and times of its files (16 hex digits)."""
        assert self.files is not None, "a shipped corpus is named by its revision"
        return self.files.name_content()

    @cached_property
    def _maker(self) -> ItemMaker:
        files = self.files or Files("/")
        return ItemMaker(files=files, reading=self.reading, downloads=self.downloads)


def open_corpus(corpus: str, *, reading: ReadingOptions | None = None, downloads: Downloads | None = None) -> Corpus:
    """Open a shipped corpus by its name, or a folder or file by its path or fsspec address. Its content decides how:

    - a folder of pictures with their texts beside them (`corpora.folder`);
    - a table or a folder of tables: `.jsonl`, `.csv`, `.tsv` (compressed or not) or `.parquet`. Columns have names of
      `corpora.columns`, or WIT's own (`corpora.wit`); pictures are bytes, paths relative to the table, or addresses;
    - a Hugging Face dataset as `save_to_disk` writes it (`corpora.hf_datasets`).

    `downloads` is how addresses are fetched, if `reading` allows them. Raises ValueError at once for a corpus that does
    not exist or is of another kind.
    """
    reading = reading or ReadingOptions()
    fetching = (downloads or Downloads()) if reading.allow_urls else None
    if corpus in BUILT_IN:
        return Corpus(corpus, None, reading, (BuiltIn(corpus),), fetching)
    check_corpus(corpus)
    files = find_files(corpus)
    if files is None:
        raise _not_there(corpus)
    forms = tuple(_find_forms(files, reading))
    if not forms:
        raise ValueError(f"corpus {corpus!r}: a file of another kind. {_describe_expected()}")
    return Corpus(corpus, files, reading, forms, fetching)


def check_corpus(corpus: str) -> None:
    """Refuse a corpus without a name, and a local one that does not exist. Reads no file and asks no address.

    Raises ValueError that says what a corpus may be.
    """
    if not corpus.strip():
        raise ValueError(f"corpus {corpus!r}: found no name. {_describe_expected()}")
    if corpus not in BUILT_IN and "://" not in corpus and not Path(corpus).exists():
        raise _not_there(corpus)


def _not_there(corpus: str) -> ValueError:
    return ValueError(f"corpus {corpus!r}: no such file or folder. {_describe_expected()}")


def read_corpus(corpus: str, *, reading: ReadingOptions | None = None) -> Iterator[KnowledgeItem | BadRow]:
    """Yield the items and bad rows of a corpus in order; the second of two equal items is a bad row.

    Raises ValueError at once for a corpus that `open_corpus` refuses, and at the end for one without a good row.
    """
    return _read_distinct(open_corpus(corpus, reading=reading))


def describe_no_good_row(corpus: str, num_bad: int, first: list[BadRow]) -> ValueError:
    """Return the error for a corpus that gave no item, with the first reasons."""
    shown = "".join(f"\n  {row.file} row {row.row}: {row.reason}: {row.detail}" for row in first[:NUM_REASONS_SHOWN])
    follows = ", first:" if shown else "."
    return ValueError(f"corpus {corpus!r} holds no usable item; {num_bad} bad rows{follows}{shown}")


def _read_distinct(corpus: Corpus) -> Iterator[KnowledgeItem | BadRow]:
    places: dict[str, str] = {}
    bad: list[BadRow] = []
    num_bad = 0
    for row in (row for piece in corpus.cut_into_pieces() for row in corpus.read(piece)):
        if isinstance(row, FoundItem) and row.item.item_id in places:
            detail = f"the same image, text and language as {places[row.item.item_id]}"
            row = BadRow(row.file, row.row, "duplicate_id", detail)
        if isinstance(row, BadRow):
            num_bad += 1
            bad = [*bad, row] if len(bad) < NUM_REASONS_SHOWN else bad
            yield row
        else:
            places[row.item.item_id] = f"{row.file} row {row.row}"
            yield row.item
    if not places:
        raise describe_no_good_row(corpus.name, num_bad, bad)


def _find_forms(files: Files, reading: ReadingOptions) -> Iterator[Form]:
    """Find the forms of a corpus: of its only file, of a saved dataset, or of a folder's tables and pairs."""
    if files.only is not None:
        if (form := _find_table(files, files.only, reading)) is not None:
            yield form
        elif files.only.lower().endswith(TEXT_ENDINGS) and reading.images == "optional":
            yield Folder(files, strict=True, texts_alone=True)
        return
    if (streams := find_arrow_files(files)) is not None:
        yield from (ArrowStream(files, name, reading.columns) for name in streams)
        return
    tables = [entry.name for entry in files.list_entries() if entry.name.lower().endswith(TABLES)]
    yield Folder(files, strict=not tables, texts_alone=reading.images == "optional")
    for name in tables:
        form = _find_table(files, name, reading)
        assert form is not None
        yield form


def _find_table(files: Files, name: str, reading: ReadingOptions) -> Form | None:
    plain = strip_packing(name)
    if plain.endswith(jsonl.ENDINGS):
        return JsonLines(files, name)
    if plain.endswith(delimited.ENDINGS):
        return Delimited(files, name)
    return Parquet(files, name, reading.columns) if name.lower().endswith(parquet.ENDINGS) else None


def _describe_expected() -> str:
    return (
        f"A corpus is a built-in one ({', '.join(BUILT_IN)}), a folder of images with .txt files beside them, a folder "
        f"that datasets' `save_to_disk` wrote, or a table or a folder of tables ({', '.join(TABLES)})"
    )
