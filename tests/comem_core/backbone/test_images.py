"""Pictures on their way into a model: transparency, size and broken bytes."""

import io
import random

import pytest
from PIL import Image

from comem_core.backbone.images import decode, fit
from comem_core.worlds.countries.world import knowledge_items


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


def test_the_cap_holds_and_the_aspect_is_kept():
    chance = random.Random(0)
    for _ in range(200):
        wide, tall, cap = chance.randint(1, 900), chance.randint(1, 900), chance.randint(400, 90_000)
        fitted = fit(Image.new("L", (wide, tall)), cap)
        assert fitted.width * fitted.height <= cap
        if wide * tall <= cap:
            assert fitted.size == (wide, tall)
        elif min(fitted.size) > 10:
            assert fitted.width / fitted.height == pytest.approx(wide / tall, rel=1.2 / min(fitted.size))


def test_a_picture_without_a_cap_keeps_its_size():
    assert decode(encoded(Image.new("RGB", (900, 700)))).size == (900, 700)
    assert decode(encoded(Image.new("RGB", (900, 700))), max_pixels=6300).size == (90, 70)


def test_an_extreme_shape_keeps_at_least_one_pixel():
    assert fit(Image.new("L", (4000, 1)), 100).size == (632, 1)


@pytest.mark.parametrize("raw", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"<svg/>"])
def test_bytes_that_are_no_picture_are_refused(raw: bytes):
    with pytest.raises(ValueError, match=f"^{len(raw)} bytes are not a readable picture: "):
        decode(raw)


def test_broken_pictures_are_read_or_refused_and_nothing_else_is_raised():
    picture = Image.open(io.BytesIO(knowledge_items()[0].image)).convert("RGB")
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
