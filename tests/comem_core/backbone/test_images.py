"""Pictures on their way into a model: transparency, visual tokens and broken bytes."""

import io
import random

import pytest
from PIL import Image

from comem_core.backbone.images import MAX_ASPECT, VisualTokens, compute_grid, decode, fit, put_on_square
from comem_core.worlds.countries.world import load_knowledge_items


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str):
    picture = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
    picture.putpixel((0, 0), (0, 0, 0, 255))
    decoded = decode(encoded(picture.quantize() if mode == "P" else picture.convert(mode)))
    assert decoded.mode == "RGB"
    assert decoded.getpixel((3, 1)) == (255, 255, 255)
    assert decoded.getpixel((0, 0)) == (0, 0, 0)


def test_half_transparent_red_becomes_pink():
    assert decode(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 128)))).getpixel((0, 0)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_every_usual_mode_becomes_rgb(mode: str):
    decoded = decode(encoded(Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode), "TIFF"))
    assert (decoded.mode, decoded.size, decoded.getpixel((2, 1))) == ("RGB", (5, 3), (255, 255, 255))


def test_bounds_hold_and_the_aspect_is_kept_to_within_a_visual_token():
    chance = random.Random(0)
    for _ in range(300):
        size = chance.randint(1, 900), chance.randint(1, 900)
        least = chance.randint(1, 40)
        bounds = VisualTokens(min=least, max=chance.randint(least, 90))
        rows, columns = compute_grid(size, bounds, side=14)
        assert bounds.min <= rows * columns <= bounds.max
        wide, tall = size[0] / size[1] * rows, size[1] / size[0] * columns  # what each side would be beside the other
        if min(size) * 4 > max(size) and bounds.max > least + 8:
            assert abs(columns - wide) < 1 + wide / rows or abs(rows - tall) < 1 + tall / columns
        if bounds.min <= size[0] * size[1] / 14**2 <= bounds.max and min(size) % 14 == max(size) % 14 == 0:
            assert (rows, columns) == (size[1] // 14, size[0] // 14)


@pytest.mark.parametrize(
    ("size", "bounds", "grid"),
    [
        ((140, 70), VisualTokens(max=64, min=16), (5, 10)),  # fits as it is
        ((1400, 700), VisualTokens(max=64, min=16), (5, 11)),
        ((512, 512), VisualTokens(max=64, min=16), (8, 8)),
        ((20, 20), VisualTokens(max=64, min=16), (4, 4)),  # scaled up
        ((18, 18), VisualTokens(max=64), (1, 1)),
        ((4000, 1), VisualTokens(max=16), (1, 16)),  # squeezed: it cannot be narrower than one token
        ((5, 4), VisualTokens(max=16, min=16), (4, 4)),
        ((50, 40), VisualTokens(max=17, min=17), (1, 17)),  # a prime number has no other grid
    ],
)
def test_a_picture_takes_the_nearest_grid(size: tuple[int, int], bounds: VisualTokens, grid: tuple[int, int]):
    assert compute_grid(size, bounds, side=14) == grid
    assert fit(Image.new("L", size), bounds, side=14).size == (grid[1] * 14, grid[0] * 14)


def test_no_grid_is_narrower_than_a_reader_takes():
    for size in ((200, 1), (1, 200), (199, 1), (1, 150), (40, 30)):
        for least, most in ((257, 300), (300, 301), (1000, 1009), (1, 2000), (400, 400)):
            grid = compute_grid(size, VisualTokens(min=least, max=most), side=14)
            assert max(grid) <= MAX_ASPECT * min(grid)
            assert least <= grid[0] * grid[1] <= most
    with pytest.raises(ValueError, match="every grid of 257 to 257 visual tokens is too narrow"):
        compute_grid((20, 20), VisualTokens(min=257, max=257), side=14)


@pytest.mark.parametrize(("least", "most"), [(0, 4), (5, 4), (-1, -1)])
def test_bounds_without_a_number_between_them_are_refused(least: int, most: int):
    with pytest.raises(ValueError, match=f"visual tokens from {least} to {most}; expected 1 <= min <= max"):
        VisualTokens(min=least, max=most)


def test_a_picture_stands_in_the_middle_of_a_white_square():
    square = put_on_square(Image.new("RGB", (5, 2), (0, 0, 0)))
    assert square.size == (5, 5)
    rows = [square.getpixel((2, row)) for row in range(5)]
    assert rows == [(255, 255, 255), (0, 0, 0), (0, 0, 0), (255, 255, 255), (255, 255, 255)]
    assert put_on_square(Image.new("RGB", (3, 3))).size == (3, 3)


@pytest.mark.parametrize("raw", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_bytes_that_are_no_picture_are_refused(raw: bytes):
    with pytest.raises(ValueError, match=f"^{len(raw)} bytes are not a readable picture: "):
        decode(raw)


def test_broken_pictures_are_read_or_refused_and_nothing_else_is_raised():
    picture = Image.open(io.BytesIO(load_knowledge_items()[0].picture)).convert("RGB")
    chance, refused = random.Random(0), 0
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        whole = encoded(picture, kind)
        for _ in range(60):
            broken = bytearray(whole)
            for _ in range(chance.randint(1, 6)):
                broken[chance.randrange(min(len(broken), 200))] = chance.randrange(256)
            try:
                decode(bytes(broken[: chance.randint(len(broken) // 2, 2 * len(broken))]))
            except ValueError as error:
                assert "bytes are not a readable picture" in str(error)
                refused += 1
    assert refused > 100


def test_a_size_that_no_picture_has_is_refused():
    bitmap = bytearray(encoded(Image.new("RGB", (4, 4)), "BMP"))
    bitmap[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(ValueError, match="not a readable picture: Image size"):
        decode(bytes(bitmap))
