"""Augmented pictures: another photograph of the same thing, the same each time."""

import io

import pytest
from PIL import Image

from comem_core.backbone.images import decode
from comem_core.knowledge.augmenting import LARGEST_SIDE, augment_picture
from comem_core.worlds.countries.world import load_knowledge_items

FLAG = load_knowledge_items()[0].picture


def pack(width: int, height: int, mode: str = "RGB") -> bytes:
    packed = io.BytesIO()
    Image.effect_mandelbrot((width, height), (-3, -2.5, 2, 2.5), 100).convert(mode).save(packed, "PNG")
    return packed.getvalue()


def test_the_same_picture_and_seed_give_the_same_bytes_and_another_seed_others() -> None:
    assert augment_picture(FLAG, "one") == augment_picture(FLAG, "one")
    assert len({augment_picture(FLAG, seed) for seed in ("one", "two", "three")}) == 3


def test_a_part_of_the_picture_is_seen_otherwise() -> None:
    before, after = decode(FLAG), decode(augment_picture(FLAG, "one"))
    kept = after.width * after.height / (before.width * before.height)
    assert 0.45 < kept < 0.85
    assert after.getpixel((0, 0)) != before.getpixel((0, 0)) or after.tobytes() != before.tobytes()


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (3000, 2000)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "1"])
def test_a_picture_of_any_size_and_kind_is_augmented(size: tuple[int, int], mode: str) -> None:
    augmented = decode(augment_picture(pack(*size, mode), "one"))
    assert augmented.mode == "RGB" and 1 <= max(augmented.size) <= LARGEST_SIDE


def test_what_is_not_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="not a readable picture"):
        augment_picture(b"no picture", "one")
