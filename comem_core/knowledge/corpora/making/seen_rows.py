"""Rows on their way to items, and the keys by which they are found again in an earlier reading of the corpus."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from comem_core.knowledge.corpora.columns import is_missing
from comem_core.knowledge.corpora.files import make_readable
from comem_core.knowledge.corpora.making.fields import FieldReader, find_file_name, is_address
from comem_core.knowledge.corpora.rows import FoundItem, RawRow, UnreadRow
from comem_core.knowledge.file_languages import Guesser
from comem_core.knowledge.known_rows import KnownRow, hash_bytes, make_key
from comem_core.knowledge.pictures import is_inline


@dataclass(eq=False)
class SeenRow:
    """A row on its way to an item: its fields under our names, its keys, and what was made of it before."""

    raw: RawRow | UnreadRow
    fields: Any = None
    row_key: bytes | None = None
    picture_key: bytes | None = None
    found: FoundItem | None = None

    def take(self, known: KnownRow) -> None:
        """Take what was made of the row before."""
        place, keys = (make_readable(self.raw.file), self.raw.row), (self.row_key, known.picture_key)
        self.found = FoundItem(*place, known.item, known.hashes, known.language_certain, *keys, as_it_was=True)
        self.fields = None


def is_language_missing(fields: Any, stated: str | None) -> TypeGuard[dict[str, Any]]:
    """Tell whether neither the fields of a row nor the recipe (`stated`) states its language."""
    return type(fields) is dict and stated is None and is_missing(fields.get("language"))


def name_row(row: SeenRow, reader: FieldReader, find_guesser: Callable[[], Guesser]) -> None:
    """Give a row the key of everything that decides its item, if all of it can be told without decoding a picture.

    That is its fields or the state of its files, and how its language is guessed. What is at an address may change.
    """
    if isinstance(raw := row.raw, UnreadRow):
        guessed, told = raw.needs_language and reader.reading.language is None, raw.stamp
    else:
        guessed, told = is_language_missing(row.fields, reader.reading.language), _tell_fields(row, raw, reader)
    if told is not None:
        row.row_key = make_key(told, find_guesser().key if guessed else None)


def _tell_fields(row: SeenRow, raw: RawRow, reader: FieldReader) -> bytes | None:
    if type(row.fields) is not dict:
        return None
    image = row.fields.get("image")
    if isinstance(image, Mapping):
        image = image.get("bytes") or image.get("path")
    version = None
    if isinstance(image, bytes | bytearray | memoryview):
        row.picture_key = image = hash_bytes(image)
    elif isinstance(image, str) and not is_missing(image):
        if is_address(image):
            version = None if reader.downloads else ()
        else:
            version = () if is_inline(image) else reader.files.find_version(find_file_name(raw.file, image.strip()))
        if version is None:
            return None
    others = [(name, value) for name, value in row.fields.items() if name != "image"]
    return make_key(make_readable(raw.file), others, image, version)
