"""Augments pictures: changes one as another photograph of the thing might differ, to ask whether it is still found."""

import io
import random

from PIL import Image, ImageEnhance

from comem_core.backbone.images import decode

# The share of each side that a crop keeps, degrees of a turn, factors of light and contrast, and the quality of JPEG.
CROP, TURN, LIGHT, QUALITY = (0.7, 0.9), (-8.0, 8.0), (0.75, 1.25), 60
LARGEST_SIDE = 512


def augment_picture(image: bytes, seed: str) -> bytes:
    """Return a picture as JPEG that is turned a little, cropped, lit otherwise, scaled down and packed with losses.

    The same picture and seed give the same bytes, with the same release of Pillow. What the amounts are worth was
    measured beside real pairs of pictures (docs/emoji.md).

    Raises:
        ValueError: the picture cannot be decoded.
    """
    draw = random.Random(seed)
    picture = decode(image)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    picture = picture.rotate(draw.uniform(*TURN), Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
    picture = picture.crop(_choose_crop(picture.size, draw))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast):
        picture = enhance(picture).enhance(draw.uniform(*LIGHT))
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=QUALITY)
    return packed.getvalue()


def _choose_crop(size: tuple[int, int], draw: random.Random) -> tuple[int, int, int, int]:
    """Return the left, upper, right and lower edge of a random part of a picture."""
    (left, right), (upper, lower) = (_choose_part(side, draw) for side in size)
    return left, upper, right, lower


def _choose_part(side: int, draw: random.Random) -> tuple[int, int]:
    kept = max(1, round(side * draw.uniform(*CROP)))
    first = draw.randint(0, side - kept)
    return first, first + kept
