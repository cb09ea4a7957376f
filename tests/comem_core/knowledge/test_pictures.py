"""Pictures of every kind that Pillow writes come out as one kind, and are compared as the eye does."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from comem_core.knowledge.pictures import (
    PictureRefused,
    Prepared,
    hash_picture,
    is_likely_picture,
    prepare_picture,
)
from tests.bits import bits_apart


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    written = io.BytesIO()
    picture.save(written, format=kind, **options)
    return written.getvalue()


def plain(color="red", *, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def prepared(raw: bytes, *, max_side: int = 1024, max_pixels: int = 50_000_000) -> Prepared:
    return prepare_picture(raw, max_side=max_side, max_pixels=max_pixels)


def decoded(raw: bytes) -> Image.Image:
    return Image.open(io.BytesIO(raw))


def flag(first: str, second: str, *, size: tuple[int, int] = (60, 40)) -> Image.Image:
    drawn = plain(first, size=size)
    ImageDraw.Draw(drawn).rectangle((0, size[1] // 2, size[0], size[1]), fill=second)
    return drawn


def photo(seed: int = 0, *, size: tuple[int, int] = (160, 120)) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def test_large_images_are_made_smaller_with_their_shape_kept():
    small = decoded(prepared(encoded(plain(size=(300, 100))), max_side=150).image)
    assert (small.size, small.mode, small.format) == ((150, 50), "RGB", "PNG")
    shot = decoded(prepared(encoded(plain(size=(300, 100)), "JPEG"), max_side=150).image)
    assert (shot.size, shot.format) == ((150, 50), "JPEG")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_that_fits_keeps_its_bytes(kind: str):
    raw = encoded(plain(), kind)
    assert prepared(raw).image == raw


def test_transparent_grey_palette_print_and_turned_images_become_upright_rgb():
    clear = decoded(prepared(encoded(plain("#ff000000", mode="RGBA"))).image)
    assert (clear.mode, clear.getpixel((0, 0))) == ("RGB", (255, 255, 255))
    grey = decoded(prepared(encoded(plain("#808080", mode="L"))).image)
    assert (grey.mode, grey.getpixel((0, 0))) == ("RGB", (128, 128, 128))
    palette = decoded(prepared(encoded(plain("blue").convert("P"))).image)
    assert (palette.mode, palette.getpixel((0, 0))) == ("RGB", (0, 0, 255))
    for kind in ("JPEG", "TIFF"):
        print_colours = decoded(prepared(encoded(plain("red").convert("CMYK"), kind)).image)
        assert print_colours.mode == "RGB"
        assert print_colours.getpixel((0, 0)) == pytest.approx((254, 0, 0), abs=3)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decoded(prepared(encoded(plain(size=(8, 6)), "JPEG", exif=exif)).image).size == (6, 8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_of_grey_are_scaled_and_not_cut_off(kind: str):
    deep = Image.fromarray(np.full((6, 8), 0x4000, dtype=np.uint16))
    assert decoded(prepared(encoded(deep, kind)).image).getpixel((0, 0)) == (64, 64, 64)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_a_moving_picture_the_first_frame_is_kept(kind: str):
    moving = encoded(plain("red"), kind, save_all=True, append_images=[plain("blue")], lossless=True)
    still = decoded(prepared(moving).image)
    assert (getattr(still, "n_frames", 1), still.format) == (1, "PNG")
    assert still.getpixel((0, 0)) == pytest.approx((255, 0, 0), abs=2)


def test_a_small_file_that_unpacks_to_gigabytes_is_not_decoded():
    for side, detail in ((8000, "8000 x 8000 pixels; at most 50000000"), (60_000, "exceeds limit")):
        with pytest.raises(PictureRefused, match=detail) as refused:
            prepared(bomb(side))
        assert refused.value.reason == "image_too_large"


@pytest.mark.parametrize("raw", [b"", b"no picture", encoded(photo())[:300], b"\x89PNG\r\n\x1a\n", b"<svg></svg>"])
def test_what_is_no_whole_picture_is_refused(raw: bytes):
    with pytest.raises(PictureRefused) as refused:
        prepared(raw)
    assert refused.value.reason == "unreadable_image"
    with pytest.raises(PictureRefused):
        hash_picture(raw)


def test_a_picture_is_known_by_how_it_begins():
    assert all(is_likely_picture(encoded(plain(), kind)[:16]) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"))
    assert not is_likely_picture(b"Blue flag, RIFF")


def test_the_hashes_of_a_kept_picture_are_those_of_its_bytes():
    for raw in (
        encoded(photo()),
        encoded(photo(), "JPEG"),
        encoded(photo().convert("L")),
        encoded(flag("red", "blue")),
    ):
        for max_side in (50, 1024):
            kept = prepared(raw, max_side=max_side)
            assert kept.hashes == hash_picture(kept.image)
            assert all(-(2**63) <= part < 2**63 for part in kept.hashes)


def test_a_picture_that_was_saved_again_is_near_and_another_is_far():
    original = hash_picture(encoded(photo()))
    again = hash_picture(encoded(photo().resize((120, 90)), "JPEG", quality=60))
    assert bits_apart(original, original) == 0
    assert bits_apart(original, again) <= 8
    assert bits_apart(original, hash_picture(encoded(photo(seed=1)))) > 30


def test_one_layout_in_two_colours_is_two_pictures():
    one, other = hash_picture(encoded(flag("#c00000", "white"))), hash_picture(encoded(flag("#0000c0", "white")))
    assert bits_apart(one, other) >= 16
