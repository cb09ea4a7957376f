"""Turns a raw row into an item: fetches and checks its picture, and fills gaps, unless it is known already.

A row with any fault becomes a bad row with its reason. Independent of formats.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, TypeGuard

from comem_core.data_roots import OUTSIDE, OutsideRoots
from comem_core.knowledge.corpora.columns import is_missing
from comem_core.knowledge.corpora.files import Files, make_readable
from comem_core.knowledge.corpora.making.fields import FieldReader, find_file_name, is_address, read_row_text
from comem_core.knowledge.corpora.making.seen_rows import SeenRow, is_language_missing, name_row
from comem_core.knowledge.corpora.rows import BadRow, FoundItem, RawRow, ReadingOptions, Refused, UnreadRow
from comem_core.knowledge.downloads import Downloads, Fetched
from comem_core.knowledge.file_languages import Guesser
from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.known_rows import KnownRows, hash_bytes
from comem_core.knowledge.languages import normalise_tag
from comem_core.knowledge.pictures import (
    MAX_BYTES,
    PictureRefused,
    Prepared,
    decode_base64,
    decode_data_url,
    hash_picture,
    prepare_picture,
)

TEXTS = ("text", "language", "source", "licence", "title", "entity_id")
KEPT_AS_IT_IS = ("title", "entity_id")
UNKNOWN_LICENCE = "unknown"
MAX_TEXT_CHARACTERS = 1_000_000
ROWS_TOGETHER = 64  # whose languages are guessed together


@dataclass(frozen=True, kw_only=True)
class ItemMaker:
    """Makes the items of one corpus. `downloads` fetches addresses; None: addresses are not allowed."""

    files: Files
    reading: ReadingOptions
    downloads: Downloads | None = None

    @cached_property
    def fields(self) -> FieldReader:
        """What reads the rows' fields."""
        return FieldReader(files=self.files, reading=self.reading, downloads=self.downloads)

    def make_items(
        self,
        rows: Iterable[RawRow | UnreadRow],
        find_guesser: Callable[[], Guesser],
        known: KnownRows | None = None,
    ) -> Iterator[FoundItem | BadRow]:
        """Make an item of every row, in the order of the rows, whatever the order of downloads.

        `find_guesser` is asked, for rows that do not state their language, who guesses the languages of their file.
        Rows that are `known` are not made again, and neither are pictures.
        """
        seen = self._find_known(rows, find_guesser, known)
        found = iter(
            self.downloads.fetch_in_order(seen, _find_address) if self.downloads else ((row, None) for row in seen)
        )
        while batch := list(islice(found, ROWS_TOGETHER)):
            unknown = {place: row.fields for place, (row, _) in enumerate(batch) if self._needs_language(row.fields)}
            uncertain = self._guess_languages(unknown, find_guesser) if unknown else set()
            for place, (row, fetched) in enumerate(batch):
                yield row.found or self._make_item(row, fetched, known, language_certain=place not in uncertain)

    def _find_known(
        self, rows: Iterable[RawRow | UnreadRow], find_guesser: Callable[[], Guesser], known: KnownRows | None
    ) -> Iterator[SeenRow]:
        """Yield rows with what was made of them before, or else with their fields under our names."""
        left = iter(rows)
        while batch := list(islice(left, ROWS_TOGETHER)):
            seen = [SeenRow(row) for row in batch]
            for each in seen:
                if isinstance(each.raw, RawRow):
                    each.fields = self.fields.read(each.raw)
                if known:
                    name_row(each, self.fields, find_guesser)
            before = known.find_rows([each.row_key for each in seen]) if known else [None] * len(seen)
            for each, found in zip(seen, before, strict=True):
                if found:
                    each.take(found)
                elif isinstance(each.raw, UnreadRow):
                    each.raw = each.raw.read()
                    each.fields = self.fields.read(each.raw)
                yield each

    def _guess_languages(self, unknown: Mapping[int, dict[str, Any]], find_guesser: Callable[[], Guesser]) -> set[int]:
        """Write a language into the fields of rows, by place; return the places of those that are not certain."""
        guessed = find_guesser().guess_each([read_row_text(fields) for fields in unknown.values()])
        for fields, each in zip(unknown.values(), guessed, strict=True):
            fields["language"] = each.language
        return {place for place, each in zip(unknown, guessed, strict=True) if not each.certain}

    def learn_languages(self, rows: Iterable[RawRow]) -> Guesser:
        """Learn which languages a file has from some of its rows."""
        texts = (read_row_text(fields) for fields in map(self.fields.read, rows) if self._needs_language(fields))
        return Guesser.learn([text for text in texts if text])

    def _needs_language(self, fields: Any) -> TypeGuard[dict[str, Any]]:
        return is_language_missing(fields, self.reading.language)

    def _make_item(
        self, row: SeenRow, fetched: Fetched | None, known: KnownRows | None, *, language_certain: bool
    ) -> FoundItem | BadRow:
        raw, fields = row.raw, row.fields
        assert isinstance(raw, RawRow), "a row that is not known was read"
        file = make_readable(raw.file)
        try:
            if isinstance(fields, Refused):
                raise fields
            if isinstance(fields, KnowledgeItem):
                hashes = None if fields.image is None else _hashes(fields.image)
                return FoundItem(file, raw.row, fields, hashes)
            words = self._read_texts(fields, raw, file)
            picture, is_decoded = self._read_picture(row, raw, fetched, known)
        except Refused as refused:
            return BadRow(file, raw.row, refused.reason, _make_printable(refused.detail))
        item = KnowledgeItem(image=None if picture is None else picture.image, **words)
        hashes, keys = None if picture is None else picture.hashes, (row.row_key, row.picture_key)
        return FoundItem(file, raw.row, item, hashes, language_certain, *keys, is_decoded=is_decoded)

    def _read_texts(self, fields: dict[str, Any], raw: RawRow, file: str) -> dict[str, Any]:
        """Read the row's texts and fill gaps. Raises Refused."""
        words: dict[str, Any] = {name: fields.get(name) for name in TEXTS} | {
            "text": read_row_text(fields) or fields.get("text")
        }
        wrong, broken = [], []
        for name, value in words.items():
            if type(value) is int and name == "entity_id":
                words[name] = str(value)
            elif is_missing(value):
                words[name] = None
            elif type(value) is not str:
                wrong.append(f"{name} is {type(value).__name__}")
            elif not value.isascii() and not _is_whole(value):
                broken.append(name)
            elif name not in KEPT_AS_IT_IS:
                words[name] = value.strip()
        if wrong:
            raise Refused("wrong_schema", f"expected texts; {', '.join(wrong)}")
        if broken:
            raise Refused("wrong_schema", f"{', '.join(broken)} is not valid UTF-8 text")
        self._check_text(words["text"], fields, raw)
        words["language"] = _read_language(words["language"] or self.reading.language or "")
        words["source"] = words["source"] or self.reading.source or file
        words["licence"] = words["licence"] or self.reading.licence or UNKNOWN_LICENCE
        return words

    def _check_text(self, text: str | None, fields: Mapping[str, Any], raw: RawRow) -> None:
        """Refuse a row without the columns that are needed, or without a text. Raises Refused."""
        needed = ("image", "text") if self.reading.images == "needed" else ("text",)
        if absent := [name for name in needed if name not in fields]:
            found = sorted(name for name in raw.fields if name) if isinstance(raw.fields, Mapping) else []
            raise Refused("wrong_schema", f"missing {', '.join(absent)}; found the fields {', '.join(found)}")
        if text is None:
            raise Refused("missing_text", "the text is empty")
        if len(text) > MAX_TEXT_CHARACTERS:
            raise Refused("text_too_long", f"{len(text)} characters; at most {MAX_TEXT_CHARACTERS} are kept")

    def _read_picture(
        self, row: SeenRow, raw: RawRow, fetched: Fetched | None, known: KnownRows | None
    ) -> tuple[Prepared | None, bool]:
        """Return the prepared picture of a row, if it has one, and whether it was decoded for this. Raises Refused."""
        image = row.fields.get("image")
        if isinstance(image, Mapping):
            image = image.get("bytes") or image.get("path")
        optional = self.reading.images == "optional"
        if is_missing(image) or (optional and self.downloads is None and is_address(image)):
            if optional:
                return None, False
            raise Refused("missing_image", "the row names no image")
        try:
            content = self._read_content(raw, image, fetched)
            if known:
                row.picture_key = row.picture_key or hash_bytes(content)
                if found := known.find_picture(row.picture_key):
                    return found, False
            limits = {"max_side": self.reading.max_side, "max_pixels": self.reading.max_pixels}
            return prepare_picture(content, **limits), True
        except PictureRefused as refused:
            raise Refused(refused.reason, refused.detail) from refused

    def _read_content(self, raw: RawRow, image: Any, fetched: Fetched | None) -> bytes:
        """Return the bytes of a picture given as bytes, as an address, or as a file name. Raises Refused."""
        if isinstance(image, bytes | bytearray | memoryview):
            return bytes(image)
        if isinstance(image, list):
            raise Refused("several_images", f"{len(image)} pictures, and an item has one; give each a row of its own")
        if not isinstance(image, str):
            found = type(image).__name__
            raise Refused("wrong_schema", f"expected the image as a path, an address or bytes; it is {found}")
        if image.startswith("data:"):
            return decode_data_url(image)
        if decoded := decode_base64(image):
            return decoded
        if is_address(image):
            if fetched is None:
                raise Refused("missing_image", f"{image} is an address, and addresses are not allowed (allow_urls)")
            if fetched.content is None:
                raise Refused(fetched.reason, f"{image}: {fetched.detail}")
            return fetched.content
        if "://" in image:
            raise Refused("address_refused", f"{image}: only http and https are fetched")
        return self._read_file(find_file_name(raw.file, image.strip()), image)

    def _read_file(self, name: str, shown: str) -> bytes:
        try:
            content = self.files.read(name, limit=MAX_BYTES)
        except OutsideRoots as error:
            raise Refused(OUTSIDE, str(error)) from error
        except PermissionError as error:
            raise Refused("unreadable_image", f"no permission to read {shown}") from error
        except (OSError, ValueError) as error:
            raise Refused("missing_image", f"no image at {shown}") from error
        if len(content) > MAX_BYTES:
            raise Refused("image_too_large", f"{shown} has more than {MAX_BYTES} bytes")
        return content


_hashes = lru_cache(maxsize=16)(hash_picture)  # items of one picture in several languages are adjacent


def _find_address(row: SeenRow) -> str | None:
    image = row.fields.get("image") if isinstance(row.fields, Mapping) else None
    if isinstance(image, Mapping) and not image.get("bytes"):
        image = image.get("path")
    return image if isinstance(image, str) and is_address(image) else None


@lru_cache(maxsize=1024)
def _read_language(tag: str) -> str:
    try:
        return normalise_tag(tag)
    except ValueError as error:
        raise Refused("wrong_schema", f"the language is not a tag: {error}") from error


def _is_whole(text: str) -> bool:
    """Tell whether a text can be encoded as UTF-8; a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _make_printable(detail: str) -> str:
    return detail.encode("utf-8", "replace").decode()[:500]
