"""Reads knowledge items: from folders, tar files, JSON, CSV, TSV, Parquet, WIT, saved datasets, and shipped corpora.

A corpus is a local path or any address that fsspec knows. It is streamed one row at a time, in pieces that many readers
can share. A bad row is yielded as `BadRow` with its reason, and reading goes on; a corpus without a good row is an
error. Independent of models and of where items are stored afterwards.
"""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from comem_core.knowledge.corpora import annotations, delimited, jsonl, parquet
from comem_core.knowledge.corpora.annotations import Annotations
from comem_core.knowledge.corpora.built_in import BUILT_IN, BuiltIn
from comem_core.knowledge.corpora.delimited import Delimited
from comem_core.knowledge.corpora.files import Files, find_files, make_readable
from comem_core.knowledge.corpora.folder import TEXT_ENDINGS, Folder, find_folder
from comem_core.knowledge.corpora.hf_datasets import ArrowStream, find_saved_dataset
from comem_core.knowledge.corpora.jsonl import JsonLines
from comem_core.knowledge.corpora.lines import PACKED, strip_packing
from comem_core.knowledge.corpora.making.items import ItemMaker
from comem_core.knowledge.corpora.parquet import Parquet
from comem_core.knowledge.corpora.rows import BadRow, CorpusFile, Form, FoundItem, Piece, RawRow, ReadingOptions
from comem_core.knowledge.downloads import Downloads
from comem_core.knowledge.file_languages import Guesser
from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.known_rows import KnownRows
from comem_core.knowledge.pictures import IMAGE_ENDINGS

__all__ = [
    "BUILT_IN",
    "BadRow",
    "Corpus",
    "CorpusFile",
    "FoundItem",
    "Piece",
    "ReadingOptions",
    "check_corpus",
    "describe_changed",
    "describe_no_good_row",
    "find_folder",
    "make_readable",
    "open_corpus",
    "read_corpus",
]

TAR = ".tar"
TEXT_TABLES = (*jsonl.ENDINGS, *delimited.ENDINGS)
TABLES = (*TEXT_TABLES, *parquet.ENDINGS, annotations.ENDING, TAR)
TABLE_ENDINGS = (*TABLES, *(ending + packed for ending in (*TEXT_TABLES, TAR) for packed in PACKED))
ROWS_OF_A_PIECE = 1024
ROWS_OF_A_SAMPLE = 256
NUM_REASONS_SHOWN = 5


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

    def read(self, piece: Piece, known: KnownRows | None = None) -> Iterator[FoundItem | BadRow]:
        """Yield the item or fault of each row of a piece. Equal items are not detected: they may be in two pieces.

        A row or picture that is among those `known` is taken from there. Raises ValueError if these are not as many as
        the rows that were seen when the piece was cut.
        """
        form, num_rows = self.forms[piece.form], 0
        for row in self._maker.make_items(form.list_rows(piece), lambda: self._find_guesser(piece.form), known):
            num_rows += 1
            yield row
        if num_rows != piece.num_rows:
            raise describe_changed(piece.file or self.name, piece.num_rows, num_rows)

    def count_rows(self, piece: Piece) -> Counter[str]:
        """Count the rows of a piece by file; those of pictures and texts by folder, as in `list_files`."""
        return self.forms[piece.form].count_rows(piece)

    def list_files(self) -> Iterator[CorpusFile]:
        """Yield each table, each folder of pictures and texts, and each file that is left out, with the reason."""
        for form in self.forms:
            yield from form.list_files()

    def name_content(self) -> str:
        """Hash the corpus by the names, sizes and times of its files (16 hex digits)."""
        assert self.files is not None, "a shipped corpus is named by its revision"
        return self.files.name_content()

    def _find_guesser(self, place: int) -> Guesser:
        if place not in self._guessers:
            self._guessers[place] = self._maker.learn_languages(_read_sample(self.forms[place]))
        return self._guessers[place]

    @cached_property
    def _guessers(self) -> dict[int, Guesser]:
        """What is known of the languages of each form that was asked for."""
        return {}

    @cached_property
    def _maker(self) -> ItemMaker:
        files = self.files or Files("/")
        if beside := [path for form in self.forms for path in form.beside]:
            files = replace(files, roots=(*files.roots, *beside))
        return ItemMaker(files=files, reading=self.reading, downloads=self.downloads)


def open_corpus(corpus: str, *, reading: ReadingOptions | None = None, downloads: Downloads | None = None) -> Corpus:
    """Open a shipped corpus by its name, or a folder or file by its path or fsspec address. Its content decides how:

    - a folder of pictures with their texts beside them, or a tar file of such, as WebDataset's (`corpora.folder`);
    - a table or a folder of tables: `.jsonl`, `.csv`, `.tsv` (compressed or not), `.parquet`, or `.json` with a list of
      objects, as LLaVA's, or COCO's captions (`corpora.annotations`). Columns have names of `corpora.columns`, or WIT's
      own (`corpora.wit`); pictures are bytes, paths relative to the table, or addresses;
    - a Hugging Face dataset as `save_to_disk` writes it (`corpora.hf_datasets`).

    `downloads` is how addresses are fetched, if `reading` allows them. Raises ValueError at once for a corpus that does
    not exist or is of another kind.
    """
    reading = reading or ReadingOptions()
    fetching = (downloads or Downloads()) if reading.allow_urls else None
    if corpus in BUILT_IN:
        return Corpus(corpus, None, reading, (BuiltIn(corpus),), fetching)
    check_corpus(corpus)
    files = find_files(corpus, reading.roots)
    if files is None:
        raise _not_there(corpus)
    forms = tuple(_find_forms(files, reading))
    if not forms:
        raise ValueError(f"corpus {corpus!r}: a file of another kind. {_describe_expected()}")
    return Corpus(corpus, files, reading, forms, fetching)


def check_corpus(corpus: str) -> None:
    """Refuse a corpus without a name, an address with a password in it, and a local corpus that does not exist.

    Reads no file and asks no address.

    Raises ValueError that says what a corpus may be.
    """
    if not corpus.strip():
        raise ValueError(f"corpus {corpus!r}: found no name. {_describe_expected()}")
    if any(each.password and each.scheme != "github" for each in map(urlsplit, corpus.split("::"))):
        raise ValueError(
            "the address of the corpus has a password in it, which would be written into records, pages and logs. Give "
            "the address alone, and the password in the variables of its filesystem (FSSPEC_<PROTOCOL>_PASSWORD)"
        )
    if corpus not in BUILT_IN and "://" not in corpus and not Path(corpus).exists():
        raise _not_there(corpus)


def _not_there(corpus: str) -> ValueError:
    where = "" if Path(corpus).is_absolute() or "://" in corpus else f" in {Path.cwd()}"
    return ValueError(f"corpus {corpus!r}: no such file or folder{where}. {_describe_expected()}")


def read_corpus(corpus: str, *, reading: ReadingOptions | None = None) -> Iterator[KnowledgeItem | BadRow]:
    """Yield the items and bad rows of a corpus in order; the second of two equal items is a bad row.

    Raises ValueError at once for a corpus that `open_corpus` refuses, and at the end for one without a good row.
    """
    return _read_distinct(open_corpus(corpus, reading=reading))


def describe_changed(file: str, num_seen: int, num_read: int) -> ValueError:
    """Return the error for a file whose rows are not all accounted for."""
    return ValueError(
        f"{file}: {num_seen} rows were seen, but {num_read} became items, duplicates or bad rows. If the file changed "
        "while it was read, start again; otherwise report this"
    )


def describe_no_good_row(corpus: str, num_bad: int, first: list[BadRow]) -> ValueError:
    """Return the error for a corpus that gave no item, with the first reasons."""
    shown = "".join(f"\n  {row.file} row {row.row}: {row.reason}: {row.detail}" for row in first[:NUM_REASONS_SHOWN])
    follows = ", first:" if shown else f". {_describe_expected()}"
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


def _read_sample(form: Form) -> Iterator[RawRow]:
    """Read the first rows of a form, through a copy: the form itself may be in the middle of a file."""
    fresh = deepcopy(form)
    for piece in islice(fresh.cut_into_pieces(ROWS_OF_A_SAMPLE), 1):
        yield from fresh.read_rows(piece)


def _find_forms(files: Files, reading: ReadingOptions) -> Iterator[Form]:
    """Find the forms of a corpus: of its only file, of a saved dataset, or of a folder's tables and pairs."""
    if files.only is not None:
        if form := _find_table(files, files.only, reading):
            yield form
        elif files.only.lower().endswith(TEXT_ENDINGS) and reading.images == "optional":
            yield Folder(files, reading)
        return
    saved = find_saved_dataset(files)
    tables = (
        [ArrowStream(files, name, reading.columns) for name in saved.streams]
        if saved
        else [*_find_tables(files, reading)]
    )
    taken, beside = [form.name for form in tables], saved.describing if saved else ()
    yield Folder(
        files, reading, taken=taken, describing=beside, tables=[form for form in tables if not isinstance(form, Folder)]
    )
    yield from tables


def _find_tables(files: Files, reading: ReadingOptions) -> Iterator[Form]:
    """Find the tables and tar files of a folder. A .json file beside a picture of its name is not one of them."""
    for listed in files.list_folders():
        names = [entry.name for entry in listed.entries]
        pictured = {name.rpartition(".")[0] for name in names if name.lower().endswith(IMAGE_ENDINGS)}
        for name in names:
            stem = name.rpartition(".")[0]
            if name.lower().endswith(annotations.ENDING) and {stem, stem.rpartition(".")[0]} & pictured:
                continue
            if form := _find_table(files, name, reading):
                yield form


def _find_table(files: Files, name: str, reading: ReadingOptions) -> Form | None:
    if not name.lower().endswith(TABLE_ENDINGS):
        return None
    plain = strip_packing(name)
    if plain.endswith(jsonl.ENDINGS):
        return JsonLines(files, name)
    if plain.endswith(delimited.ENDINGS):
        return Delimited(files, name, reading.columns)
    if plain.endswith(TAR):
        return Folder(files.open_tar(name), reading, inside=f"{name}/", version=files.find_version(name))
    if name.lower().endswith(annotations.ENDING):
        form = Annotations(files, name, reading.columns)
        return form if form.is_table() else None
    return Parquet(files, name, reading.columns) if name.lower().endswith(parquet.ENDINGS) else None


def _describe_expected() -> str:
    return (
        "Expected a folder of pictures with .txt files beside them, a table or a folder of tables "
        f"({', '.join(TABLES)}), or a built-in one ({', '.join(BUILT_IN)}); docs/data.md has all that a corpus may be"
    )
