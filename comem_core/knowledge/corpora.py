"""Reads knowledge items from where they lie: a folder of images, a JSONL file, or a corpus that is shipped.

Streams: one row is held at a time. A bad row is yielded as `BadRow` with its reason and reading goes on; a corpus
without any good row is an error. Knows nothing of models and of where items are kept afterwards.
"""

import io
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from comem_core.backbone.images import to_rgb
from comem_core.knowledge.items import KnowledgeItem
from comem_core.worlds.countries import world as countries

BUILT_IN: dict[str, Callable[[], Iterable[KnowledgeItem]]] = {"countries": countries.knowledge_items}
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
KEPT_FORMATS = ("PNG", "JPEG", "WEBP")
READ_FORMATS = (*KEPT_FORMATS, "GIF", "BMP", "TIFF")
NEEDED_FIELDS = ("image", "text", "language", "source", "licence")
NUM_REASONS_SHOWN = 5

_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How rows are read. `language`, `source` and `licence` hold for rows that do not say; None means each must.

    Images larger than `max_side` (pixels) are made smaller, keeping their shape; those of more than `max_pixels` are
    refused before they are decoded, as a small file can unpack to gigabytes.
    """

    language: str | None = None
    source: str | None = None
    licence: str | None = None
    max_side: int = 1024
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class BadRow:
    """A row that gave no item: the file as given, the row (from 1), the reason as a word, the detail as a sentence."""

    file: str
    row: int
    reason: str
    detail: str


class _Refused(Exception):
    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def read_corpus(corpus: str, *, reading: Reading | None = None) -> Iterator[KnowledgeItem | BadRow]:
    """Yield the items and bad rows of a corpus: a built-in name, a folder, or a `.jsonl` file.

    - folder: every image (`.png .jpg .jpeg .webp`, at any depth, in the order of names) with its text in a `.txt` file
      of the same name beside it; language, source and licence come from `reading`. Other files are not looked at.
    - JSONL: an object a line with `image` (path, relative to the file), `text`, `language`, `source`, `licence`, and
      optionally `title` and `entity_id`.

    Raises ValueError at once for a corpus that does not exist, and at the end for one without a good row.
    """
    reading = reading or Reading()
    path = Path(corpus)
    if corpus in BUILT_IN:
        rows = _built_in_rows(corpus)
    elif path.is_dir():
        _require_folder_words(corpus, reading)
        rows = _folder_rows(path, reading)
    elif path.is_file() and path.suffix == ".jsonl":
        rows = _jsonl_rows(path, reading)
    else:
        found = "a file of another kind" if path.is_file() else "no such file or folder"
        raise ValueError(
            f"corpus {corpus!r}: {found}. A corpus is a built-in one ({', '.join(BUILT_IN)}), a folder of images with "
            ".txt files beside them, or a .jsonl file"
        )
    return _checked(corpus, rows)


def prepared_image(raw: bytes, *, reading: Reading) -> bytes:
    """Return a picture that is upright, RGB and within the size cap; the very same bytes if it already is.

    Raises ValueError for bytes that are not a whole picture, or one of too many pixels.
    """
    try:
        return _prepared_image(raw, reading)
    except _Refused as refused:
        raise ValueError(refused.detail) from refused


Row = tuple[str, int, Callable[[], KnowledgeItem]]


def _checked(corpus: str, rows: Iterable[Row]) -> Iterator[KnowledgeItem | BadRow]:
    """Make each row's item, refuse the second of two equal ones, and fail at the end if none was good."""
    places: dict[str, str] = {}
    bad: list[BadRow] = []
    num_bad = 0
    for file, number, make in rows:
        try:
            item = make()
            if item.item_id in places:
                raise _Refused("duplicate_id", f"the same image, text and language as {places[item.item_id]}")
            places[item.item_id] = f"{file} row {number}"
            yield item
        except _Refused as refused:
            num_bad += 1
            bad_row = BadRow(file, number, refused.reason, refused.detail)
            bad = [*bad, bad_row] if len(bad) < NUM_REASONS_SHOWN else bad
            yield bad_row
    if not places:
        reasons = "".join(f"\n  {each.file} row {each.row}: {each.reason}: {each.detail}" for each in bad)
        raise ValueError(
            f"corpus {corpus!r} holds no usable item; {num_bad} bad rows{'.' if not bad else ', first:'}{reasons}"
        )


def _built_in_rows(name: str) -> Iterator[Row]:
    for number, item in enumerate(BUILT_IN[name](), start=1):
        yield name, number, lambda item=item: item


def _require_folder_words(corpus: str, reading: Reading) -> None:
    missing = [name for name in ("language", "source", "licence") if getattr(reading, name) is None]
    if missing:
        raise ValueError(
            f"corpus {corpus!r} is a folder: its texts do not say {', '.join(missing)}; give them for the whole folder"
        )


def _folder_rows(folder: Path, reading: Reading) -> Iterator[Row]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    images = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    pictured = {path.with_suffix("") for path in images}
    alone = [path for path in paths if path.suffix == ".txt" and path.with_suffix("") not in pictured]
    for number, path in enumerate(chain(images, alone), start=1):
        yield str(path), number, lambda path=path: _folder_item(path, reading)


def _folder_item(path: Path, reading: Reading) -> KnowledgeItem:
    if path.suffix == ".txt":
        raise _Refused("missing_image", f"no image named {path.stem} ({', '.join(IMAGE_SUFFIXES)}) beside the text")
    text_path = path.with_suffix(".txt")
    if not text_path.is_file():
        raise _Refused("missing_text", f"no {text_path.name} beside the image")
    try:
        text = text_path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Refused("wrong_schema", f"{text_path.name} is not UTF-8 text: {error}") from error
    return _item({"image": str(path), "text": text}, path.parent, reading)


def _jsonl_rows(file: Path, reading: Reading) -> Iterator[Row]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield str(file), number, lambda line=line: _jsonl_item(line, file.parent, reading)


def _jsonl_item(line: bytes, folder: Path, reading: Reading) -> KnowledgeItem:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise _Refused("wrong_schema", f"not a line of JSON: {error}") from error
    if not isinstance(fields, dict):
        raise _Refused("wrong_schema", f"expected an object with image and text; found {type(fields).__name__}")
    return _item(fields, folder, reading)


def _item(fields: dict[str, Any], folder: Path, reading: Reading) -> KnowledgeItem:
    known = {name: fields.get(name) for name in (*NEEDED_FIELDS, "title", "entity_id")}
    for name in ("language", "source", "licence"):
        known[name] = known[name] if known[name] is not None else getattr(reading, name)
    wrong = [f"{name} is {type(value).__name__}" for name, value in known.items() if not isinstance(value, str | None)]
    if wrong:
        raise _Refused("wrong_schema", f"expected texts; {', '.join(wrong)}")
    needed = {name: (known[name] or "").strip() for name in NEEDED_FIELDS}
    if not needed["text"] and "text" in fields:
        raise _Refused("missing_text", "the text is empty")
    absent = [name for name, value in needed.items() if not value]
    if absent:
        raise _Refused("wrong_schema", f"missing {', '.join(absent)}; found the fields {', '.join(sorted(fields))}")
    path = folder / needed.pop("image")
    image = _prepared_image(_read_image(path), reading)
    return KnowledgeItem(image=image, title=known["title"], entity_id=known["entity_id"], **needed)


def _read_image(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise _Refused("missing_image", f"no image at {path}") from error
    except PermissionError as error:
        raise _Refused("unreadable_image", f"{path} may not be read") from error


def _prepared_image(raw: bytes, reading: Reading) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels below decides
            with Image.open(io.BytesIO(raw), formats=READ_FORMATS) as image:
                return _fitted(image, raw, reading)
    except Image.DecompressionBombError as error:
        raise _Refused("image_too_large", str(error)) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise _Refused("unreadable_image", f"{len(raw)} bytes that are no whole picture: {error}") from error


def _fitted(image: Image.Image, raw: bytes, reading: Reading) -> bytes:
    num_pixels = image.width * image.height
    if num_pixels > reading.max_pixels:
        size = f"{image.width} x {image.height}"
        raise _Refused("image_too_large", f"{size} pixels; at most {reading.max_pixels} are decoded")
    kept_format = image.format if image.format in KEPT_FORMATS else "PNG"
    image.load()
    upright = image.getexif().get(_EXIF_ORIENTATION, 1) == 1
    fits = max(image.size) <= reading.max_side
    if image.format == kept_format and image.mode == "RGB" and upright and fits:
        return raw
    picture = to_rgb(ImageOps.exif_transpose(image))
    if not fits:
        picture.thumbnail((reading.max_side, reading.max_side), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    if kept_format == "JPEG":
        picture.save(written, format="JPEG", quality=95)
    else:
        picture.save(written, format="PNG")  # without loss, as WebP may be
    return written.getvalue()
