"""Decodes pictures and resizes them to a number of visual tokens. Independent of any model.

A visual token stands for a square of `side` pixels, so a picture's size in tokens is a grid of rows and columns.
"""

import io
import math
from dataclasses import dataclass

from PIL import Image

# What Pillow raises for broken bytes, or for an impossible size.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class VisualTokens:
    """How many visual tokens a picture becomes: at most `max`, and at least `min`. A small picture is scaled up.

    Raises:
        ValueError: unless 1 <= min <= max.
    """

    max: int
    min: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise ValueError(f"visual tokens from {self.min} to {self.max}; expected 1 <= min <= max")


def decode(image: bytes) -> Image.Image:
    """Decode an encoded picture to RGB, transparency on white.

    Raises:
        ValueError: the bytes are not a picture that Pillow can read.
    """
    try:
        picture = Image.open(io.BytesIO(image))
        picture.load()
    except UNREADABLE as error:
        raise ValueError(f"{len(image)} bytes are not a readable picture: {error}") from error
    return convert_to_rgb(picture)


def convert_to_rgb(picture: Image.Image) -> Image.Image:
    """Convert any mode to RGB; transparent areas become white."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (*WHITE, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def compute_grid(size: tuple[int, int], tokens: VisualTokens, *, side: int) -> tuple[int, int]:
    """Return the (rows, columns) of visual tokens for a picture of `size` (width, height), within the bounds.

    The picture keeps its own size where the bounds allow it. Of all grids within them, the one whose two sides are
    nearest, by ratio, to the picture's is chosen. Only a picture too narrow for its tokens loses its aspect.
    """
    columns, rows = size[0] / side, size[1] / side
    area = min(max(rows * columns, tokens.min), tokens.max)
    scale = math.sqrt(area / (rows * columns))
    rows, columns = rows * scale, columns * scale
    near = set()
    for down in range(1, tokens.max + 1):
        fewest, most = math.ceil(tokens.min / down), tokens.max // down
        if fewest <= most:
            near |= {(down, min(max(across, fewest), most)) for across in (math.floor(columns), math.ceil(columns))}
    return min(near, key=lambda grid: (abs(math.log(grid[0] / rows)) + abs(math.log(grid[1] / columns)), grid))


def fit(picture: Image.Image, tokens: VisualTokens, *, side: int) -> Image.Image:
    """Scale a picture to whole visual tokens within the bounds."""
    rows, columns = compute_grid(picture.size, tokens, side=side)
    return picture.resize((columns * side, rows * side), Image.Resampling.BICUBIC)


def put_on_square(picture: Image.Image) -> Image.Image:
    """Centre a picture on a white square, for a vision tower that takes squares; the aspect is kept."""
    wide, tall = picture.size
    edge = max(wide, tall)
    square = Image.new("RGB", (edge, edge), WHITE)
    square.paste(picture, ((edge - wide) // 2, (edge - tall) // 2))
    return square
