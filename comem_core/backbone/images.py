"""Pictures on their way into a model: decoded, and scaled down to a cap with the aspect kept. Knows no model."""

import io
import math

from PIL import Image

# What Pillow raises for broken bytes, or for a size that no picture has.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def decode(image: bytes, *, max_pixels: int | None = None) -> Image.Image:
    """Decode an encoded picture to RGB (transparency on white), with at most `max_pixels` pixels.

    Raises:
        ValueError: the bytes are not a picture that Pillow can read.
    """
    try:
        picture = Image.open(io.BytesIO(image))
        picture.load()
    except UNREADABLE as error:
        raise ValueError(f"{len(image)} bytes are not a readable picture: {error}") from error
    return fit(to_rgb(picture), max_pixels)


def to_rgb(picture: Image.Image) -> Image.Image:
    """Flatten any mode to RGB; what is transparent becomes white."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def fit(picture: Image.Image, max_pixels: int | None) -> Image.Image:
    """Scale a picture down to `max_pixels` with its aspect kept; a smaller one is left as it is."""
    wide, tall = picture.size
    if max_pixels is None or wide * tall <= max_pixels:
        return picture
    scale = math.sqrt(max_pixels / (wide * tall))
    size = (max(1, math.floor(wide * scale)), max(1, math.floor(tall * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)
