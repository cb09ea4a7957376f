"""Pictures of every kind that Pillow writes come out as one kind, and are compared as the eye does."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageColor, ImageDraw

from comem_core.backbone.images import MAX_ASPECT, TURNS, decode
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
    dotted = plain("#ff000000", mode="RGBA")
    dotted.putpixel((2, 2), (255, 0, 0, 255))
    clear = decoded(prepared(encoded(dotted)).image)
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


def ramp(low: float, high: float, kind: str) -> np.ndarray:
    """Rows of values from `low` to `high`."""
    return np.linspace(low, high, 32 * 32).reshape(32, 32).astype(kind)


def as_tiff(values: np.ndarray, **options: Any) -> bytes:
    """Encode values with a writer that is not Pillow's."""
    written = io.BytesIO()
    tifffile.imwrite(written, values, **options)
    return written.getvalue()


DEEP = {
    "12 bits in a PNG": encoded(Image.fromarray(ramp(0, 4095, "uint16"))),
    "12 bits": as_tiff(ramp(0, 4095, "uint16")),
    "12 bits, compressed": as_tiff(ramp(0, 4095, "uint16"), compression="zlib"),
    "10 bits, big-endian": as_tiff(ramp(0, 1023, ">u2"), byteorder=">"),
    "16 bits": as_tiff(ramp(0, 65535, "uint16")),
    "far from 0": as_tiff(ramp(30_000, 34_000, "uint16")),
    "negative": as_tiff(ramp(-1000, 3000, "int16")),
    "32 bits": as_tiff(ramp(0, 2**32 - 1, "uint32")),
    "32 bits, signed": as_tiff(ramp(-(2**31), 2**31 - 1, "int32")),
    "floats": as_tiff(ramp(0, 1, "float32")),
    "several pages": as_tiff(np.stack([ramp(0, 4095, "uint16"), ramp(7, 8, "uint16")]), photometric="minisblack"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_greys_are_scaled_by_the_range_that_they_use(kind: str):
    kept = prepared(DEEP[kind]).image
    expected = ramp(0, 255, "float64")
    assert np.abs(np.asarray(decode(kept))[..., 0] - expected).max() <= 1.5
    assert np.array_equal(np.asarray(decode(kept)), np.asarray(decode(DEEP[kind])))


def test_deep_greys_that_count_from_white_are_turned_round():
    for kind in ("uint16", "float32"):
        shown = np.asarray(decode(as_tiff(ramp(0, 60_000, kind), photometric="miniswhite")))
        assert (shown[0, 0, 0], shown[-1, -1, 0]) == (255, 0)


def test_a_value_far_from_all_others_or_not_a_number_does_not_decide_the_range():
    for kind, odd in (("uint16", [65535]), ("float32", [np.nan, np.inf, -np.inf])):
        values = ramp(0, 4095, kind)
        values[0, : len(odd)] = odd
        shown = np.asarray(decode(as_tiff(values)))[..., 0]
        assert len(np.unique(shown[1:])) > 200


def test_a_thin_bright_line_in_deep_greys_is_seen():
    values = np.full((300, 300), 100, np.uint16)
    values[150, 100:140] = 130
    shown = np.asarray(decode(as_tiff(values)))
    assert (shown[150, 120, 0], shown[0, 0, 0]) == (255, 0)


def drawing(colour: Any, *, mode: str = "RGBA") -> Image.Image:
    """A square in one colour on a transparent ground, whose hidden colour is the square's own."""
    drawn = Image.new("RGBA", (32, 32), (*ImageColor.getrgb(colour)[:3], 0))
    ImageDraw.Draw(drawn).rectangle((8, 8, 24, 24), fill=colour)
    return drawn.quantize() if mode == "P" else drawn.convert(mode)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "GIF"), ("RGBA", "TIFF"), ("LA", "TIFF"), ("RGBA", "WEBP")],
)
@pytest.mark.parametrize(
    ("colour", "ground"), [("white", 0), ("#d0d0d0", 0), ("black", 255), ("#303030", 255), ("#808080", 255)]
)
def test_a_transparent_ground_is_the_one_that_shows_the_drawing(mode: str, kind: str, colour: str, ground: int):
    raw = encoded(drawing(colour, mode=mode), kind, lossless=True)
    shown = np.asarray(decode(raw))
    assert shown[0, 0].tolist() == [ground] * 3
    assert shown[16, 16] == pytest.approx(ImageColor.getrgb(colour), abs=2)
    assert np.array_equal(np.asarray(decode(prepared(raw).image)), shown)


def test_a_white_name_beside_a_coloured_sign_is_seen():
    drawn = drawing("white")
    ImageDraw.Draw(drawn).rectangle((0, 0, 16, 32), fill="#c02020")
    assert decode(encoded(drawn)).getpixel((31, 31)) == (0, 0, 0)


def test_one_colour_that_stands_for_transparent_is_not_seen():
    for mode, value in (("L", 0), ("RGB", (0, 0, 0)), ("I;16", 0)):
        drawn = Image.new(mode, (8, 8), value)
        drawn.paste(65535 if mode == "I;16" else "white", (2, 2, 6, 6))
        drawn.putpixel((4, 4), 9000 if mode == "I;16" else 99 if mode == "L" else (99, 99, 99))
        raw = encoded(drawn, transparency=value)
        assert decode(raw).getpixel((3, 3)) == (255, 255, 255)
        assert decode(prepared(raw).image).getpixel((0, 0)) == (0, 0, 0)
        assert prepared(raw).hashes == hash_picture(raw)


def test_a_deep_grey_that_stands_for_transparent_is_not_seen_and_is_not_in_the_range():
    values = np.full((16, 16), 10, np.uint16)
    values[4:12, 4:12] = 40_000
    values[6, 6] = 50_000
    shown = np.asarray(decode(encoded(Image.fromarray(values), transparency=10)))[..., 0]
    assert (shown[0, 0], shown[5, 5], shown[6, 6]) == (255, 0, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_picture_is_upright_wherever_it_is_read(kind: str):
    drawn = flag("red", "blue", size=(40, 60))
    drawn.paste("white", (0, 0, 16, 16))  # neither side is like another
    for orientation, turn in ((1, None), *TURNS.items()):
        exif = Image.Exif()
        exif[0x0112] = orientation
        raw = encoded(drawn, kind, exif=exif)
        wanted = np.asarray(drawn if turn is None else drawn.transpose(turn), dtype=int)
        for shown in (decode(raw), decode(prepared(raw).image)):
            assert np.abs(np.asarray(shown, dtype=int) - wanted).mean() < 8
        assert bits_apart(hash_picture(raw), hash_picture(prepared(raw).image)) <= 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_with_broken_exif_is_read_as_it_lies(kind: str):
    whole = Image.Exif()
    whole[0x0112], whole[0x010F] = 6, "a camera"
    for place in range(6, len(whole.tobytes()), 3):
        broken = bytearray(whole.tobytes())
        broken[place] ^= 0xFF
        raw = encoded(flag("red", "blue"), kind, exif=bytes(broken))
        assert sorted(decoded(prepared(raw).image).size) == [40, 60]


def test_a_picture_too_narrow_for_readers_is_refused_before_it_is_decoded():
    for size in ((4000, 10), (10, 4000), (MAX_ASPECT + 1, 1)):
        with pytest.raises(
            PictureRefused, match=f"{size[0]} x {size[1]} pixels; the longer side is at most"
        ) as refused:
            prepared(encoded(plain(size=size)))
        assert refused.value.reason == "image_too_narrow"
        with pytest.raises(ValueError, match="the longer side is at most 200 times the shorter one"):
            decode(encoded(plain(size=size)))


@pytest.mark.parametrize("size", [(1990, 10), (10, 1990), (2000, 10), (20_000, 101), (7, 1400)])
def test_a_narrow_picture_is_not_made_too_narrow_when_it_is_scaled(size: tuple[int, int]):
    kept = decoded(prepared(encoded(plain(size=size))).image)
    assert max(kept.size) == 1024
    assert max(kept.size) <= MAX_ASPECT * min(kept.size)


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


def as_deep_png(values: np.ndarray, *, turned: bool = False) -> bytes:
    """Write (H, W, 2, 3 or 4) 16-bit values as a PNG, which Pillow cannot; `turned`: its EXIF turns it by 180°."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, {2: 4, 3: 2, 4: 6}[values.shape[2]], 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    parts = [(b"IHDR", head), *([(b"eXIf", exif.tobytes()[6:])] if turned else []), (b"IDAT", zlib.compress(lines))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


def colour_ramp(highest: int, bands: int = 3) -> np.ndarray:
    """Return (40, 50, bands) values up to `highest`: red rises, green is half of it, blue a quarter, alpha is full."""
    red = np.linspace(0, highest, 2000).reshape(40, 50)
    return np.stack([red, red / 2, red / 4, np.full_like(red, 65535)][:bands], axis=2).round().astype(np.uint16)


DEEP_COLOURS = {
    "PNG": as_deep_png,
    "TIFF": lambda values: as_tiff(values, photometric="rgb"),
    "TIFF, compressed": lambda values: as_tiff(values, photometric="rgb", compression="zlib"),
    "TIFF, big-endian": lambda values: as_tiff(values, photometric="rgb", byteorder=">"),
}


@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("kind", DEEP_COLOURS)
@pytest.mark.parametrize("highest", [1023, 4095, 16383])
def test_colours_of_a_scan_with_few_of_its_16_bits_are_seen_with_their_hue(kind: str, highest: int, bands: int):
    raw = DEEP_COLOURS[kind](colour_ramp(highest, bands))
    kept = prepared(raw).image
    for shown in (np.asarray(decoded(kept)), np.asarray(decode(raw))):
        assert shown[..., 0].max() == 255 and len(np.unique(shown[..., 0])) > 250
        assert np.abs(shown / np.array([4, 2, 1]) - shown[..., 2:]).max() <= 1.5
    assert prepared(raw).hashes == hash_picture(kept)


@pytest.mark.parametrize("kind", DEEP_COLOURS)
def test_colours_that_use_their_16_bits_stay_as_they_are(kind: str):
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    shown = np.asarray(decoded(prepared(DEEP_COLOURS[kind](values.astype(np.uint16) * 257)).image))
    assert np.array_equal(shown, values)


def test_deep_colours_are_turned_upright_once():
    values = colour_ramp(4095)
    upright, turned = (np.asarray(decode(as_deep_png(values, turned=turned))) for turned in (False, True))
    assert np.array_equal(turned, upright[::-1, ::-1])


@pytest.mark.parametrize("highest", [1023, 4095, 65535])
def test_deep_greys_with_opacity_keep_their_greys(highest: int):
    greys = colour_ramp(highest)[..., 0]
    opaque = np.full_like(greys, 65535)
    raw = as_deep_png(np.dstack([greys, opaque]))
    shown = np.asarray(decode(raw))[..., 0]
    assert len(np.unique(shown)) > 250
    assert np.abs(shown - greys / highest * 255).max() <= 2
    assert prepared(raw).hashes == hash_picture(prepared(raw).image)
    turned = as_deep_png(np.dstack([greys, opaque]), turned=True)
    assert np.array_equal(np.asarray(decode(turned))[..., 0], shown[::-1, ::-1])
    opaque[:20] = 0  # the darker half is not seen, and not in the range
    assert np.abs(np.asarray(decode(as_deep_png(np.dstack([greys, opaque]))))[..., 0][:20].astype(int) - 255).max() == 0
    with pytest.raises(PictureRefused, match="every pixel is transparent"):
        prepared(as_deep_png(np.dstack([greys, np.zeros_like(greys)])))
