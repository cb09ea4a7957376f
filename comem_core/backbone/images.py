"""Decodes pictures and resizes them to a number of visual tokens. Independent of any model.

A visual token stands for a square of `side` pixels, so a picture's size in tokens is a grid of rows and columns.
"""

import io
import math
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image

# What Pillow raises for broken bytes, or for an impossible size.
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# What the image processors of the Qwen families take, the strictest ones (a test asks every family's).
MAX_ASPECT = 200
FAINT = 64  # of 255: a colour nearer than this to its ground, in every channel, can hardly be seen on it
BARELY = 8  # of 255: a pixel of less opacity than this cannot be seen

# What EXIF's orientation says: 1, or its absence, is upright.
TURNS: Mapping[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEEP_GREYS = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
RANGE = (0.1, 99.9)  # percentiles, so that a hot pixel or a small mark does not decide
GREY_WITH_ALPHA = "LA;16B"  # 16 bits each
DEEP_COLOURS = tuple(f"{bands};16{order}" for bands in ("RGB", "RGBA", "RGBX") for order in "BLN")
OTHER_ORDER = {"B": "L", "L": "B", "N": "L" if sys.byteorder == "big" else "B"}
DEEPEST, USUAL = 65535, 16384  # a picture with brighter values than `USUAL` uses the 16 bits that it has
# Tags of TIFF, and their values.
PHOTOMETRIC, SAMPLE_FORMAT, WHITE_IS_ZERO, SIGNED = 262, 339, 0, (2, (2,))


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
    """Decode an encoded picture as it is shown (see `convert_to_rgb`); of an animation, the first frame.

    Raises:
        ValueError: the bytes are not a picture that Pillow can read, or it is too narrow (`find_narrowness`).
    """
    try:
        picture = Image.open(io.BytesIO(image))
        if narrow := find_narrowness(picture.size):
            raise ValueError(narrow)
        return convert_to_rgb(load_opened(picture))
    except UNREADABLE as error:
        raise ValueError(f"{len(image)} bytes are not a readable picture: {error}") from error


def find_narrowness(size: tuple[int, int]) -> str | None:
    """Return what is wrong with the shape of a picture of `size` that image processors refuse, or None."""
    if max(size) <= MAX_ASPECT * min(size):
        return None
    shape = f"{size[0]} x {size[1]} pixels"
    return f"{shape}; the longer side is at most {MAX_ASPECT} times the shorter one, so cut the picture or leave it out"


def load_opened(picture: Image.Image) -> Image.Image:
    """Load the pixels of an opened picture, and return it; with 16-bit colours, or 16-bit greys with opacity, another
    one, upright and with 8 bits.

    Such colours are divided by 65535, or by the brightest value in use (the 99.9th percentile over all channels) if
    that is below a quarter of it, as in scans of 10 to 14 bits. All channels are divided alike, so that the hue stays.
    Pillow keeps the high byte alone, so the picture is decoded twice, the second time with its bytes exchanged. Greys
    are scaled as in `convert_to_rgb`.
    """
    tiles, orders = getattr(picture, "tile", []), _list_deep_orders(picture)
    if any(tile.args == GREY_WITH_ALPHA for tile in tiles):
        return _load_grey_with_alpha(picture)
    if not orders:
        picture.load()
        return picture
    stream: Any = getattr(picture, "fp", None)
    picture.load()
    stream.seek(0)
    low: Any = Image.open(stream, formats=[picture.format or ""])
    low.tile = [
        tile._replace(args=(swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped)
        for tile, swapped in zip(tiles, (f"{order[:-1]}{OTHER_ORDER[order[-1]]}" for order in orders), strict=True)
    ]
    low.load()
    values = np.asarray(picture).astype(np.uint16) * 256 + np.asarray(low)
    brightest = np.percentile(values[..., :3], RANGE[1])
    divisors = np.full(values.shape[2], DEEPEST, np.float32)
    divisors[:3] = brightest if 0 < brightest < USUAL else DEEPEST
    shallow = Image.fromarray(((values / divisors).clip(0, 1) * 255).round().astype(np.uint8))
    return _turn_upright(shallow, read_turn(picture))


def _load_grey_with_alpha(picture: Image.Image) -> Image.Image:
    """Load a picture of 16-bit greys with opacity as what it shows, upright, with 8 bits each."""
    deep: Any = picture
    deep.tile = [tile._replace(args="RGBA") for tile in deep.tile]  # the four bytes of a pixel as they are stored
    deep.load()
    stored = np.asarray(deep).astype(np.float32)
    alpha = np.asarray(deep)[..., 2]
    grey = _scale_greys(stored[..., 0] * 256 + stored[..., 1], alpha >= BARELY)
    shallow = Image.fromarray((grey * 255).round().astype(np.uint8))
    shallow.putalpha(Image.fromarray(alpha))
    return _turn_upright(shallow, read_turn(picture))


def _list_deep_orders(picture: Image.Image) -> list[str]:
    """List how the tiles of a picture that is not loaded yet store 16-bit colours; empty if it has none."""
    orders: list[Any] = [
        tile.args[0] if isinstance(tile.args, tuple) and tile.args else tile.args
        for tile in getattr(picture, "tile", [])
    ]
    return orders if all(order in DEEP_COLOURS for order in orders) else []


def convert_to_rgb(picture: Image.Image) -> Image.Image:
    """Convert an opened picture of any mode to what it shows: upright, in RGB.

    A transparent ground becomes white, or black if more of the drawing would vanish on white. Deep greys are scaled to
    8 bits by the range they use, from their 0.1th to their 99.9th percentile, as Pillow would clip them at 255.
    """
    picture = _turn_upright(picture, read_turn(picture))
    if picture.mode in DEEP_GREYS:
        picture = _scale_deep_grey(picture)
    if picture.has_transparency_data:
        return _put_on_ground(picture.convert("RGBA"))
    return picture.convert("RGB")


def is_invisible(picture: Image.Image) -> bool:
    """Tell whether no pixel of a loaded picture is more than 3 % opaque, so that it shows nothing but its ground."""
    if not picture.has_transparency_data:
        return False
    if picture.mode in DEEP_GREYS:
        return bool((np.asarray(picture) == picture.info.get("transparency")).all())
    alpha: Any = picture.convert("RGBA").getchannel("A").getextrema()
    return alpha[1] < BARELY


def is_plain(picture: Image.Image) -> bool:
    """Tell whether an opened picture is one still, upright picture in opaque RGB, so that its bytes are what it shows.

    Whether its colours have 16 bits can be told before it is loaded, and no longer afterwards.
    MPO is a JPEG with several shots, which many phones write; Pillow opens it as a JPEG.
    """
    still = picture.format == "MPO" or getattr(picture, "n_frames", 1) == 1
    usual = picture.mode == "RGB" and not picture.has_transparency_data and not _list_deep_orders(picture)
    return still and usual and read_turn(picture) is None


def read_turn(picture: Image.Image) -> Image.Transpose | None:
    """Return how EXIF says to turn or to flip the picture, or None; broken EXIF says nothing."""
    try:
        return TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
    except (*UNREADABLE, TypeError):
        return None


def _turn_upright(picture: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """Turn or flip a picture; None leaves it. Of Pillow's transpositions one, a flip, is 0 and counts as false."""
    return picture if turn is None else picture.transpose(turn)


def _put_on_ground(picture: Image.Image) -> Image.Image:
    *colours, alpha = (np.asarray(band) for band in picture.split())
    vanishes_on_white = alpha[np.minimum.reduce(colours) > 255 - FAINT].sum(dtype=np.int64)
    vanishes_on_black = alpha[np.maximum.reduce(colours) < FAINT].sum(dtype=np.int64)
    ground = Image.new("RGBA", picture.size, BLACK if vanishes_on_white > vanishes_on_black else WHITE)
    return Image.alpha_composite(ground, picture).convert("RGB")


def _scale_deep_grey(picture: Image.Image) -> Image.Image:
    """Return a deep grey picture in 8 bits; one grey may be transparent. Values that are not finite do not count."""
    tags, transparent = getattr(picture, "tag_v2", {}), picture.info.get("transparency")
    values = np.asarray(picture)
    if picture.mode == "I" and tags and tags.get(SAMPLE_FORMAT) not in SIGNED:
        values = values.view(np.uint32)  # Pillow reads them as signed
    values = values.astype(np.float32)
    shown = np.isfinite(values) & (values != transparent)
    scaled = _scale_greys(values, shown)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        scaled = 1 - scaled
    shallow = Image.fromarray((scaled * 255).round().astype(np.uint8))
    if transparent is not None:
        shallow.putalpha(Image.fromarray(shown))
    return shallow


def _scale_greys(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Scale values to a range from 0 to 1 by the range that those of them use that are `shown`."""
    used = values[shown] if shown.any() else np.zeros(1)
    low, high = np.percentile(used, RANGE)
    if low == high:
        low, high = used.min(), used.max()
    if low == high:
        low, high = 0, 65535  # one value has no range
    return np.nan_to_num((values - low) / (high - low)).clip(0, 1)


def compute_grid(size: tuple[int, int], tokens: VisualTokens, *, side: int) -> tuple[int, int]:
    """Return the (rows, columns) of visual tokens for a picture of `size` (width, height), within the bounds.

    The picture keeps its own size where the bounds allow it. Of all grids within them that are not too narrow
    (`MAX_ASPECT`), the one whose two sides are nearest, by ratio, to the picture's is chosen. Only a picture too narrow
    for its tokens loses its aspect.

    Raises:
        ValueError: every grid within the bounds is too narrow, as for a large prime number of tokens.
    """
    columns, rows = size[0] / side, size[1] / side
    area = min(max(rows * columns, tokens.min), tokens.max)
    scale = math.sqrt(area / (rows * columns))
    rows, columns = rows * scale, columns * scale
    near = set()
    for down in range(1, tokens.max + 1):
        fewest = max(math.ceil(tokens.min / down), math.ceil(down / MAX_ASPECT))
        most = min(tokens.max // down, down * MAX_ASPECT)
        if fewest <= most:
            near |= {(down, min(max(across, fewest), most)) for across in (math.floor(columns), math.ceil(columns))}
    if not near:
        raise ValueError(
            f"every grid of {tokens.min} to {tokens.max} visual tokens is too narrow; expected wider bounds"
        )
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
