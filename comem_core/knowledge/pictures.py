"""Prepares incoming pictures (checked, upright, RGB, within a size limit), and hashes them by how they look.

Independent of files, corpora and models. A file's name does not matter: its content decides.
"""

import base64
import binascii
import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError
from scipy.fft import dct

from comem_core.backbone.images import (
    MAX_ASPECT,
    UNREADABLE,
    convert_to_rgb,
    find_narrowness,
    is_invisible,
    is_plain,
    load_opened,
)

READ_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# A picture in one of these formats keeps its bytes if it needs no change.
KEPT_FORMATS = ("PNG", "JPEG", "WEBP", "MPO")
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")
BEGINNINGS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")
SHORTEST_BASE64 = 64  # characters: no picture has fewer, and few names have as many
MAX_BYTES = 100_000_000  # a larger file is not read into memory

GREY_SIDE, KEPT_WAVES = 32, 8  # as ImageHash's `phash`, whose bits these are
CHROMA_CELLS = (4, 4)
CHROMA_STEP = 16  # of 255: the distance from grey at which a cell counts as tinted
CHROMA_EDGES = np.array([128 - CHROMA_STEP, 128 + CHROMA_STEP], np.uint8)[:, None, None]

_BROKEN = (*UNREADABLE, EOFError, MemoryError)


class PictureRefused(ValueError):
    """Bytes that are not an acceptable picture: `reason` is one word for counting."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared picture: its bytes, and its two hashes (see `hash_picture`)."""

    image: bytes
    hashes: tuple[int, int]


def is_likely_picture(beginning: bytes) -> bool:
    """Tell from the first 16 bytes of a file whether it looks like a picture in a format that is read."""
    return beginning.startswith(BEGINNINGS) or (beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP")


def decode_data_url(image: str) -> bytes:
    """Return the bytes of a data URL. Raises PictureRefused."""
    head, _, content = image.partition(",")
    try:
        if not head.endswith(";base64"):
            raise binascii.Error("it is not in base64")
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise PictureRefused("unreadable_image", f"a data URL that cannot be decoded: {error}") from error


def is_inline(image: str) -> bool:
    """Tell whether a text is a picture itself, as a data URL or in base64, and not the name of a file."""
    return image.startswith("data:") or decode_base64(image) is not None


def decode_base64(image: str) -> bytes | None:
    """Return the bytes of a picture that a table holds as base64; None for a file's name or anything else."""
    if len(image) < SHORTEST_BASE64:
        return None
    try:
        decoded = base64.b64decode(image, validate=True)
    except ValueError:
        return None
    return decoded if is_likely_picture(decoded[:16]) else None


def prepare_picture(raw: bytes, *, max_side: int, max_pixels: int) -> Prepared:
    """Return a picture upright, in RGB and within `max_side` pixels; its bytes stay the same if it already is.

    The number of pixels is checked before decoding, as a small file can decode to gigabytes. Of an animation, the first
    frame is kept; `load_opened` says what deep colours become, `convert_to_rgb` what deep greys and transparent grounds
    become. Raises PictureRefused for bytes that are not a complete picture, for too many pixels, for a picture too
    narrow for a reader, and for one that is wholly transparent. A picture of one colour is a picture.
    """
    if len(raw) > MAX_BYTES:
        raise PictureRefused("image_too_large", f"{len(raw)} bytes; at most {MAX_BYTES} are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large sizes (max_pixels decides) and odd metadata
            with Image.open(io.BytesIO(raw), formats=READ_FORMATS) as image:
                return _prepare_opened(image, raw, max_side=max_side, max_pixels=max_pixels)
    except PictureRefused:
        raise
    except Image.DecompressionBombError as error:
        raise PictureRefused("image_too_large", str(error)) from error
    except _BROKEN as error:
        raise _describe_unreadable(raw, error) from error


def _prepare_opened(image: Image.Image, raw: bytes, *, max_side: int, max_pixels: int) -> Prepared:
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height}"
        raise PictureRefused("image_too_large", f"{size} pixels; at most {max_pixels} are decoded")
    if narrow := find_narrowness(image.size):
        raise PictureRefused("image_too_narrow", narrow)
    loaded = load_opened(image)
    if is_invisible(loaded):
        raise PictureRefused("nothing_shown", "every pixel is transparent, so that the picture shows nothing")
    fits = max(image.size) <= max_side
    if loaded is image and image.format in KEPT_FORMATS and fits and is_plain(image):
        return Prepared(raw, _hash_opened(image))
    picture = convert_to_rgb(loaded)
    if not fits:
        picture = _scale_down(picture, max_side)
    written = io.BytesIO()
    if image.format in ("JPEG", "MPO"):
        picture.save(written, format="JPEG", quality=95)
        return Prepared(written.getvalue(), hash_picture(written.getvalue()))  # hash what is kept: JPEG loses detail
    picture.save(written, format="PNG")  # lossless, as WebP may be
    return Prepared(written.getvalue(), _hash_opened(picture))


def _scale_down(picture: Image.Image, max_side: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    if find_narrowness(small.size):  # by rounding the shorter side
        least = math.ceil(max(small.size) / MAX_ASPECT)
        wide, tall = small.size
        small = picture.resize((max(wide, least), max(tall, least)), Image.Resampling.LANCZOS)
    return small


def hash_picture(image: bytes) -> tuple[int, int]:
    """Hash a picture by how it looks: (`image_hash`, its brightness; `image_chroma`, its colour), 64 bits each.

    Both are signed, like a BIGINT. The first is ImageHash's perceptual hash. The second has two bits for each of Cb and
    Cr in each of 16 cells (tinted one way, not tinted, or the other way), so that a red and a blue variant of one
    layout differ. Raises PictureRefused for bytes that are not a picture.
    """
    try:
        with Image.open(io.BytesIO(image)) as picture:
            return _hash_opened(convert_to_rgb(load_opened(picture)))
    except _BROKEN as error:
        raise _describe_unreadable(image, error) from error


def _describe_unreadable(raw: bytes, error: Exception) -> PictureRefused:
    """Return the error with the same text every time: Pillow's message for an unknown format has a memory address."""
    kind = isinstance(error, UnidentifiedImageError)
    detail = f"expected {', '.join(READ_FORMATS)}" if kind else str(error)
    return PictureRefused("unreadable_image", f"{len(raw)} bytes that are not a complete picture: {detail}")


def _hash_opened(picture: Image.Image) -> tuple[int, int]:
    grey = _read_pixels(picture.convert("L").resize((GREY_SIDE, GREY_SIDE), Image.Resampling.LANCZOS))
    grey = grey.reshape(GREY_SIDE, GREY_SIDE)
    waves = np.asarray(dct(dct(grey, axis=0)[:KEPT_WAVES], axis=1))[:, :KEPT_WAVES]
    below, above = np.sort(waves, axis=None)[KEPT_WAVES**2 // 2 - 1 :][:2].tolist()
    cells = _read_pixels(picture.convert("YCbCr").resize(CHROMA_CELLS, Image.Resampling.BOX)).reshape(-1, 3)
    return _pack_signed(waves > (below + above) / 2), _pack_signed(cells.T[1:] > CHROMA_EDGES)


def _read_pixels(picture: Image.Image) -> np.ndarray:
    """Return the values of a small picture in a row; this takes a third of the time of `np.asarray`."""
    return np.frombuffer(picture.tobytes(), np.uint8)


def _pack_signed(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big", signed=True)
