"""Makes questions of what a program has: a picture as a path, bytes, a PIL image or an address, and a text."""

import base64
import binascii
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from PIL import Image

from comem_core.backbone.images import UNREADABLE, convert_to_rgb, decode
from comem_core.knowledge.downloads import Downloads
from comem_core.knowledge.items import Question, hash_content_parts
from comem_core.knowledge.languages import read_language
from comem_core.knowledge.pictures import MAX_BYTES

PictureLike = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image
EXPECTED = "expected a path, encoded bytes, a PIL image, or an address (data:, file:, or with allow_urls http(s):)"
MOST_PIXELS = 50_000_000
MOST_CHARACTERS = 5000


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """What pictures are accepted: their bytes, the pixels they decode to, and whether http(s) addresses are fetched.

    `downloads` has the limits of time and size of a fetch. Private networks are refused, unless it allows them.
    """

    max_bytes: int = MAX_BYTES
    max_pixels: int = MOST_PIXELS
    allow_urls: bool = False
    allow_files: bool = True
    downloads: Downloads = field(default_factory=Downloads)


def make_question(image: PictureLike, question: str, *, language: str, limits: PictureLimits) -> Question:
    """Make a question without gold answers, named by its content.

    Raises:
        ValueError: as `read_picture`, the question is not a text, is empty or too long, or there is no such language.
    """
    if not isinstance(question, str):
        raise ValueError(f"the question is a {type(question).__name__}; expected a text")
    if not question.strip():
        raise ValueError("the question is empty; expected a text")
    if len(question) > MOST_CHARACTERS:
        raise ValueError(f"the question has {len(question)} characters; at most {MOST_CHARACTERS} are read")
    picture, language = read_picture(image, limits), read_language(language)
    name = hash_content_parts(picture, question, language)
    return Question(question_id=name, question=question, image=picture, language=language)


def read_picture(given: PictureLike, limits: PictureLimits) -> bytes:
    """Return the encoded bytes of a picture, which decode.

    Raises:
        ValueError: it is not there, not a picture, too large, too narrow, or at an address that may not be fetched.
    """
    if isinstance(given, Image.Image):
        return _encode(given, limits)
    raw, where = _read_bytes(given, limits)
    if len(raw) > limits.max_bytes:
        raise ValueError(f"{where} has {len(raw)} bytes; at most {limits.max_bytes} are read")
    try:
        with Image.open(io.BytesIO(raw)) as opened:
            size = opened.size
    except UNREADABLE as error:
        raise ValueError(f"{where} is not a readable picture; {EXPECTED}") from error
    _refuse_too_many_pixels(size, where, limits)
    try:
        decode(raw)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return raw


def _encode(picture: Image.Image, limits: PictureLimits) -> bytes:
    _refuse_too_many_pixels(picture.size, "the PIL image", limits)
    written = io.BytesIO()
    try:
        convert_to_rgb(picture).save(written, "PNG")
        decode(written.getvalue())
    except UNREADABLE as error:
        raise ValueError(f"the PIL image cannot be read: {error}") from error
    return written.getvalue()


def _refuse_too_many_pixels(size: tuple[int, int], where: str, limits: PictureLimits) -> None:
    if size[0] * size[1] > limits.max_pixels:
        raise ValueError(f"{where} has {size[0]} x {size[1]} pixels; at most {limits.max_pixels} are decoded")


def _read_bytes(given: object, limits: PictureLimits) -> tuple[bytes, str]:
    """Return the bytes, and words that say where they are from."""
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given), "the picture in bytes"
    if isinstance(given, os.PathLike):
        return _read_file(Path(os.fspath(given)), limits)
    if not isinstance(given, str):
        raise ValueError(f"the picture is a {type(given).__name__}; {EXPECTED}")
    scheme = given.partition(":")[0].lower()
    if scheme == "data":
        return _read_data_address(given), "the data: address"
    if scheme in ("http", "https"):
        return _fetch(given, limits), given
    if scheme == "file":
        return _read_file(Path(url2pathname(urlsplit(given).path)), limits)
    if "://" in given:
        raise ValueError(f"the picture's address {given!r:.120} cannot be read; {EXPECTED}")
    return _read_file(Path(given), limits)


def _read_file(path: Path, limits: PictureLimits) -> tuple[bytes, str]:
    if not limits.allow_files:
        raise ValueError("the picture is a file's path or address, which is not read here; send its bytes")
    if not path.is_file():
        raise ValueError(f"found no picture {str(path)!r:.200} (looked in {Path.cwd()}); {EXPECTED}")
    if (size := path.stat().st_size) > limits.max_bytes:
        raise ValueError(f"{path} has {size} bytes; at most {limits.max_bytes} are read")
    return path.read_bytes(), str(path)


def _read_data_address(address: str) -> bytes:
    kind, comma, content = address.partition(",")
    if not comma:
        raise ValueError("the data: address has no comma; expected data:image/png;base64,...")
    try:
        raw = unquote_to_bytes(content)
        return base64.b64decode(raw, validate=True) if kind.lower().endswith(";base64") else raw
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the data: address is not base64: {error}") from error


def _fetch(address: str, limits: PictureLimits) -> bytes:
    if not limits.allow_urls:
        raise ValueError(
            f"the picture {address!r:.120} is an address on the network, which is fetched only if asked for: open the "
            "memory with limits=PictureLimits(allow_urls=True), or start the service with --allow-urls"
        )
    [(_, fetched)] = limits.downloads.fetch_in_order([address], lambda each: each)
    if fetched is None or fetched.content is None:
        detail = "nothing came back" if fetched is None else f"{fetched.reason}: {fetched.detail}"
        raise ValueError(f"the picture {address!r:.120} was not fetched ({detail})")
    return fetched.content
