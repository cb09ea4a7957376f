"""Turns a raw row into an item: renames its fields, fetches and checks its picture, and fills gaps.

A row with any fault becomes a bad row with its reason. Independent of formats.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from comem_core.knowledge.corpora.columns import PICTURE_STRUCT, is_missing, rename_fields
from comem_core.knowledge.corpora.files import Files
from comem_core.knowledge.corpora.rows import BadRow, FoundItem, RawRow, ReadingOptions, Refused
from comem_core.knowledge.corpora.wit import is_wit, rename_wit_fields
from comem_core.knowledge.downloads import Downloads, Fetched
from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.languages import guess_language
from comem_core.knowledge.pictures import MAX_BYTES, PictureRefused, Prepared, hash_picture, prepare_picture

STRIPPED = ("text", "language", "source", "licence")
TEXTS = (*STRIPPED, "title", "entity_id")
UNKNOWN_LICENCE = "unknown"
MAX_TEXT_CHARACTERS = 1_000_000
ADDRESSES = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class ItemMaker:
    """Makes the items of one corpus. `downloads` fetches addresses; None: addresses are not allowed."""

    files: Files
    reading: ReadingOptions
    downloads: Downloads | None = None

    def make_items(self, rows: Iterable[RawRow]) -> Iterator[FoundItem | BadRow]:
        """Make an item of every row, in the order of the rows, whatever the order of downloads."""
        if self.downloads is None:
            for raw in rows:
                yield self._make_item(raw, self._rename_fields(raw), None)
            return
        for (raw, fields), fetched in self.downloads.fetch_in_order(
            ((raw, self._rename_fields(raw)) for raw in rows), _find_address
        ):
            yield self._make_item(raw, fields, fetched)

    def _rename_fields(self, raw: RawRow) -> Mapping[str, Any] | KnowledgeItem | Refused:
        if not isinstance(raw.fields, Mapping):
            return raw.fields
        if is_wit(tuple(raw.fields)) and not self.reading.columns:
            return self._prefer_downloaded(raw, rename_wit_fields(raw.fields))
        fields = rename_fields(raw.fields, self.reading.columns)
        if is_missing(fields.get("image")):
            structs = (value for value in raw.fields.values() if isinstance(value, Mapping) and not is_missing(value))
            if picture := next((value for value in structs if value.keys() >= PICTURE_STRUCT), None):
                fields["image"] = picture
        return fields

    def _prefer_downloaded(self, raw: RawRow, fields: dict[str, Any]) -> dict[str, Any]:
        """If the row has only an address, take the picture that was already downloaded beside the table."""
        names = fields.pop("downloaded")
        if _is_address(fields["image"]):
            beside = (name for name in names if self.files.exists(_resolve_name(raw.file, name)))
            fields["image"] = next(beside, fields["image"])
        return fields

    def _make_item(self, raw: RawRow, fields: Any, fetched: Fetched | None) -> FoundItem | BadRow:
        file = raw.file.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        try:
            if isinstance(fields, Refused):
                raise fields
            if isinstance(fields, KnowledgeItem):
                hashes = None if fields.image is None else _hashes(fields.image)
                return FoundItem(file, raw.row, fields, hashes)
            found = [name for name in raw.fields if name] if isinstance(raw.fields, Mapping) else []
            words = self._read_texts(fields, file, found)
            picture = self._read_picture(raw, fields, fetched)
        except Refused as refused:
            return BadRow(file, raw.row, refused.reason, _make_printable(refused.detail))
        item = KnowledgeItem(image=None if picture is None else picture.image, **words)
        return FoundItem(file, raw.row, item, None if picture is None else picture.hashes)

    def _read_texts(self, fields: Mapping[str, Any], file: str, found: list[str]) -> dict[str, Any]:
        """Read the row's texts and fill gaps. Raises Refused."""
        words: dict[str, Any] = {name: None if is_missing(each := fields.get(name)) else each for name in TEXTS}
        if isinstance(words["entity_id"], int):
            words["entity_id"] = str(words["entity_id"])
        if wrong := [f"{name} is {type(value).__name__}" for name, value in words.items() if not _is_text(value)]:
            raise Refused("wrong_schema", f"expected texts; {', '.join(wrong)}")
        if broken := [name for name, value in words.items() if value and not value.isascii() and not _is_whole(value)]:
            raise Refused("wrong_schema", f"{', '.join(broken)} is not valid UTF-8 text")
        needed = ("image", "text") if self.reading.images == "needed" else ("text",)
        if absent := [name for name in needed if name not in fields]:
            raise Refused("wrong_schema", f"missing {', '.join(absent)}; found the fields {', '.join(sorted(found))}")
        if words["text"] is None:
            raise Refused("missing_text", "the text is empty")
        if len(words["text"]) > MAX_TEXT_CHARACTERS:
            raise Refused("text_too_long", f"{len(words['text'])} characters; at most {MAX_TEXT_CHARACTERS} are kept")
        words |= {name: value.strip() for name in STRIPPED if (value := words[name])}
        words["language"] = words["language"] or self.reading.language or guess_language(str(words["text"]))
        words["source"] = words["source"] or self.reading.source or file
        words["licence"] = words["licence"] or self.reading.licence or UNKNOWN_LICENCE
        return words

    def _read_picture(self, raw: RawRow, fields: Mapping[str, Any], fetched: Fetched | None) -> Prepared | None:
        image = fields.get("image")
        if isinstance(image, Mapping):
            image = image.get("bytes") or image.get("path")
        optional = self.reading.images == "optional"
        if is_missing(image) or (optional and self.downloads is None and _is_address(image)):
            if optional:
                return None
            raise Refused("missing_image", "the row names no image")
        content = self._read_content(raw, image, fetched)
        try:
            return prepare_picture(content, max_side=self.reading.max_side, max_pixels=self.reading.max_pixels)
        except PictureRefused as refused:
            raise Refused(refused.reason, refused.detail) from refused

    def _read_content(self, raw: RawRow, image: Any, fetched: Fetched | None) -> bytes:
        """Return the bytes of a picture given as bytes, as an address, or as a file name. Raises Refused."""
        if isinstance(image, bytes | bytearray | memoryview):
            return bytes(image)
        if not isinstance(image, str):
            found = type(image).__name__
            raise Refused("wrong_schema", f"expected the image as a path, an address or bytes; it is {found}")
        if image.startswith("data:"):
            return _decode_data_url(image)
        if _is_address(image):
            if fetched is None:
                raise Refused("missing_image", f"{image} is an address, and addresses are not allowed (allow_urls)")
            if fetched.content is None:
                raise Refused(fetched.reason, f"{image}: {fetched.detail}")
            return fetched.content
        if "://" in image:
            raise Refused("address_refused", f"{image}: only http and https are fetched")
        return self._read_file(_resolve_name(raw.file, image.strip()), image)

    def _read_file(self, name: str, shown: str) -> bytes:
        try:
            content = self.files.read(name, limit=MAX_BYTES)
        except PermissionError as error:
            raise Refused("unreadable_image", f"no permission to read {shown}") from error
        except (OSError, ValueError) as error:
            raise Refused("missing_image", f"no image at {shown}") from error
        if len(content) > MAX_BYTES:
            raise Refused("image_too_large", f"{shown} has more than {MAX_BYTES} bytes")
        return content


_hashes = lru_cache(maxsize=16)(hash_picture)  # items of one picture in several languages are adjacent


def _find_address(row: tuple[RawRow, Any]) -> str | None:
    image = row[1].get("image") if isinstance(row[1], Mapping) else None
    if isinstance(image, Mapping) and not image.get("bytes"):
        image = image.get("path")
    return image if isinstance(image, str) and _is_address(image) else None


def _is_address(image: Any) -> bool:
    return isinstance(image, str) and image.lower().startswith(ADDRESSES)


def _resolve_name(file: str, name: str) -> str:
    """Return the name in the corpus of a file that a row of `file` names relative to itself."""
    folder = file.rpartition("/")[0]
    return name if name.startswith("/") or not folder else f"{folder}/{name}"


def _decode_data_url(image: str) -> bytes:
    head, _, content = image.partition(",")
    try:
        if not head.endswith(";base64"):
            raise binascii.Error("it is not in base64")
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise Refused("unreadable_image", f"a data URL that cannot be decoded: {error}") from error


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_whole(text: str) -> bool:
    """Tell whether a text can be encoded as UTF-8; a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _make_printable(detail: str) -> str:
    return detail.encode("utf-8", "replace").decode()[:500]
