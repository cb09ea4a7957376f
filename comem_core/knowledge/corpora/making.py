"""Turns a raw row into an item: renames its fields, fetches and checks its picture, and fills gaps.

A row with any fault becomes a bad row with its reason. Independent of formats.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, TypeGuard

from comem_core.knowledge.corpora.columns import SAMPLE, is_missing, is_stored_picture, rename_fields
from comem_core.knowledge.corpora.conversations import join_turns
from comem_core.knowledge.corpora.files import Files, make_readable
from comem_core.knowledge.corpora.rows import BadRow, FoundItem, RawRow, ReadingOptions, Refused
from comem_core.knowledge.corpora.wit import is_wit, rename_wit_fields
from comem_core.knowledge.downloads import Downloads, Fetched
from comem_core.knowledge.file_languages import Guesser
from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.languages import normalise_tag
from comem_core.knowledge.pictures import (
    IMAGE_ENDINGS,
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
ADDRESSES = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class ItemMaker:
    """Makes the items of one corpus. `downloads` fetches addresses; None: addresses are not allowed."""

    files: Files
    reading: ReadingOptions
    downloads: Downloads | None = None

    def make_items(self, rows: Iterable[RawRow], find_guesser: Callable[[], Guesser]) -> Iterator[FoundItem | BadRow]:
        """Make an item of every row, in the order of the rows, whatever the order of downloads.

        `find_guesser` is asked, for rows that do not state their language, who guesses the languages of their file.
        """
        renamed = ((raw, self._rename_fields(raw)) for raw in rows)
        found = iter(
            self.downloads.fetch_in_order(renamed, _find_address)
            if self.downloads
            else ((row, None) for row in renamed)
        )
        while batch := list(islice(found, ROWS_TOGETHER)):
            unknown = {place: fields for place, ((_, fields), _) in enumerate(batch) if self._needs_language(fields)}
            uncertain = self._guess_languages(unknown, find_guesser) if unknown else set()
            for place, ((raw, fields), fetched) in enumerate(batch):
                made = self._make_item(raw, fields, fetched)
                if place in uncertain and isinstance(made, FoundItem):
                    made = replace(made, language_certain=False)
                yield made

    def _guess_languages(self, unknown: Mapping[int, dict[str, Any]], find_guesser: Callable[[], Guesser]) -> set[int]:
        """Write a language into the fields of rows, by place; return the places of those that are not certain."""
        guessed = find_guesser().guess_each([_read_text(fields) for fields in unknown.values()])
        for fields, each in zip(unknown.values(), guessed, strict=True):
            fields["language"] = each.language
        return {place for place, each in zip(unknown, guessed, strict=True) if not each.certain}

    def list_pictures(self, raw: RawRow) -> list[str]:
        """List the files of the corpus that may hold the row's picture."""
        fields = self._rename_fields(raw)
        image = fields.get("image") if isinstance(fields, dict) else None
        paths = (
            each.get("path") if isinstance(each, Mapping) else each
            for each in (image if type(image) is list else [image])
        )
        return [_resolve_name(raw.file, path) for path in paths if isinstance(path, str) and not _is_address(path)]

    def learn_languages(self, rows: Iterable[RawRow]) -> Guesser:
        """Learn which languages a file has from some of its rows."""
        texts = (_read_text(fields) for fields in map(self._rename_fields, rows) if self._needs_language(fields))
        return Guesser.learn([text for text in texts if text])

    def _needs_language(self, fields: Any) -> TypeGuard[dict[str, Any]]:
        return type(fields) is dict and self.reading.language is None and is_missing(fields.get("language"))

    def _rename_fields(self, raw: RawRow) -> dict[str, Any] | KnowledgeItem | Refused:
        if not isinstance(raw.fields, Mapping):
            return raw.fields
        if is_wit(tuple(raw.fields)) and not self.reading.columns:
            return self._prefer_downloaded(raw, rename_wit_fields(raw.fields))
        fields = rename_fields(raw.fields, self.reading.columns)
        if fields.get("image") is None and (picture := next(filter(is_stored_picture, raw.fields.values()), None)):
            fields["image"] = picture
        image = fields.get("image")
        if type(image) is list and len(image) == 1:
            fields["image"] = image = image[0]
        return self._find_sample(raw, fields) if SAMPLE[0] in raw.fields and _is_address(image) else fields

    def _find_sample(self, raw: RawRow, fields: dict[str, Any]) -> dict[str, Any] | Refused:
        """Find what img2dataset made of a row of the table that it writes beside its files, or beside their tar file.

        If picture and text are files, they are an item already; of a picture without a text, the row is the item.
        """
        stem, folder = raw.file.rpartition(".")[0], _resolve_name(raw.file, "")
        assert isinstance(raw.fields, Mapping)
        key, status, error = map(raw.fields.get, SAMPLE)
        for files, place in (
            (self.files, f"{stem}/"),
            (self.files, folder),
            (_open_tar(self.files, f"{stem}.tar"), ""),
        ):
            if files is None:
                continue
            picture = next((f"{place}{key}{end}" for end in IMAGE_ENDINGS if files.exists(f"{place}{key}{end}")), None)
            if picture and any(files.exists(f"{place}{key}{end}") for end in (".txt", ".json")):
                return Refused("duplicate_id", f"the same sample as {picture}, which has its text beside it")
            if picture:
                return fields | {"image": files.read(picture, limit=MAX_BYTES)}
        if status not in (None, "success") and self.reading.images == "needed" and self.downloads is None:
            return Refused("missing_image", f"img2dataset did not get {fields['image']}: {status}, {error}")
        return fields

    def _prefer_downloaded(self, raw: RawRow, fields: dict[str, Any]) -> dict[str, Any]:
        """If the row has only an address, take the picture that was already downloaded beside the table."""
        names = fields.pop("downloaded")
        if _is_address(fields["image"]):
            beside = (name for name in names if self.files.exists(_resolve_name(raw.file, name)))
            fields["image"] = next(beside, fields["image"])
        return fields

    def _make_item(self, raw: RawRow, fields: Any, fetched: Fetched | None) -> FoundItem | BadRow:
        file = make_readable(raw.file)
        try:
            if isinstance(fields, Refused):
                raise fields
            if isinstance(fields, KnowledgeItem):
                hashes = None if fields.image is None else _hashes(fields.image)
                return FoundItem(file, raw.row, fields, hashes)
            words = self._read_texts(fields, raw, file)
            picture = self._read_picture(raw, fields, fetched)
        except Refused as refused:
            return BadRow(file, raw.row, refused.reason, _make_printable(refused.detail))
        item = KnowledgeItem(image=None if picture is None else picture.image, **words)
        return FoundItem(file, raw.row, item, None if picture is None else picture.hashes)

    def _read_texts(self, fields: dict[str, Any], raw: RawRow, file: str) -> dict[str, Any]:
        """Read the row's texts and fill gaps. Raises Refused."""
        words: dict[str, Any] = {name: fields.get(name) for name in TEXTS} | {
            "text": _read_text(fields) or fields.get("text")
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

    def _read_picture(self, raw: RawRow, fields: Mapping[str, Any], fetched: Fetched | None) -> Prepared | None:
        image = fields.get("image")
        if isinstance(image, Mapping):
            image = image.get("bytes") or image.get("path")
        optional = self.reading.images == "optional"
        if is_missing(image) or (optional and self.downloads is None and _is_address(image)):
            if optional:
                return None
            raise Refused("missing_image", "the row names no image")
        try:
            content = self._read_content(raw, image, fetched)
            return prepare_picture(content, max_side=self.reading.max_side, max_pixels=self.reading.max_pixels)
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


def _read_text(fields: Mapping[str, Any]) -> str:
    """Return the text of a row, if it is one; the turns of a conversation are joined, as are several captions."""
    text = fields.get("text")
    return text if type(text) is str else join_turns(text) if type(text) is list else ""


@lru_cache(maxsize=1024)
def _read_language(tag: str) -> str:
    try:
        return normalise_tag(tag)
    except ValueError as error:
        raise Refused("wrong_schema", f"the language is not a tag: {error}") from error


@lru_cache(maxsize=8)
def _open_tar(files: Files, name: str) -> Files | None:
    return files.open_tar(name) if files.exists(name) else None


def _is_whole(text: str) -> bool:
    """Tell whether a text can be encoded as UTF-8; a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _make_printable(detail: str) -> str:
    return detail.encode("utf-8", "replace").decode()[:500]
