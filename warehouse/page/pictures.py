"""Turns the bytes of an image into a data URI small enough for a page, or None if the image cannot be read."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from PIL import Image, UnidentifiedImageError

EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""A picture of nothing."""
MAX_SIDE = 320  # pixels: twice what the page shows, for sharp screens
_SMALL_BYTES = 12_000
_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


class PagePictures:
    """Data URIs by image_id; each image is read and shrunk once."""

    def __init__(self, images: Callable[[str], bytes | None]) -> None:
        """`images` returns an image's bytes, or None if it does not have the image."""
        self._images = images
        self._uris: dict[str, str | None] = {}

    def make_uri(self, image_id: str | None) -> str | None:
        """Return the data URI of an image, or None if there is no readable image."""
        if image_id is None:
            return None
        if image_id not in self._uris:
            data = self._images(image_id)
            self._uris[image_id] = make_data_uri(data) if data else None
        return self._uris[image_id]


def make_data_uri(data: bytes) -> str | None:
    """Return an image as a data URI, shrunk to MAX_SIDE if it is large; None if the bytes are not an image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            kind = _AS_THEY_ARE.get(image.format or "")
            if kind is None or len(data) > _SMALL_BYTES:
                image.thumbnail((MAX_SIDE, MAX_SIDE))
                data, kind = _convert_to_webp(image), "image/webp"
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _convert_to_webp(image: Image.Image) -> bytes:
    clear = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    with io.BytesIO() as file:
        image.convert("RGBA" if clear else "RGB").save(file, "WEBP", quality=82)
        return file.getvalue()
