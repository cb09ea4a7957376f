"""Pictures on their way into a model: decoded, and brought to a number of visual tokens. Knows no model.

A visual token stands for a square of `side` pixels, so a picture's size in tokens is a grid of rows and columns.
"""

import io
import math
from dataclasses import dataclass

from PIL import Image

# What Pillow raises for broken bytes, or for a size that no picture has.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
WHITE = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class VisualTokens:
    """How many visual tokens a picture becomes: at most `max`, and at least `min`, to which a small one is scaled up.

    Raises:
        ValueError: not 1 <= min <= max.
    """

    max: int
    min: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise ValueError(f"visual tokens from {self.min} to {self.max}; expected 1 <= min <= max")


def decode(image: bytes) -> Image.Image:
    """Decode an encoded picture to RGB (transparency on white).

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
    """Flatten any mode to RGB; what is transparent becomes white."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, (*WHITE, 255))
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("RGB")


def compute_grid(size: tuple[int, int], tokens: VisualTokens, *, side: int) -> tuple[int, int]:
    """Rows and columns of visual tokens for a picture of `size` (width, height): within the bounds, aspect kept.

    The picture's own size is kept where the bounds allow. Of all grids within them it is the one whose two sides are
    the nearest, by ratio, to the picture's; only a picture too narrow for its tokens is squeezed.
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
    """Put a picture in the middle of a white square, for a vision tower that takes squares: aspect is kept."""
    wide, tall = picture.size
    edge = max(wide, tall)
    square = Image.new("RGB", (edge, edge), WHITE)
    square.paste(picture, ((edge - wide) // 2, (edge - tall) // 2))
    return square
