"""Draws each country's flag in every style as a small PNG on white. Independent of facts."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from comem_core.worlds.countries.world import STYLES, Flag
from comem_core.worlds.drawing import IconSet, draw_svg

BOX = 160  # pixels; the longer side of a picture


def draw_flags(modules: Path, country_ids: list[str]) -> list[Flag]:
    """Draw every flag of these countries that the four packages have, in the order of countries and styles."""
    twemoji, flagpack = (IconSet(modules / "@iconify-json" / name) for name in ("twemoji", "flagpack"))
    svgs = {
        "flag-icons": lambda code: _read_file(modules / "flag-icons" / "flags" / "4x3" / f"{code.lower()}.svg"),
        "country-flag-icons": lambda code: _read_file(modules / "country-flag-icons" / "3x2" / f"{code}.svg"),
        "twemoji": lambda code: twemoji.find_emoji(_write_indicators(code)),
        "flagpack": lambda code: flagpack.find_icon({"GB": "gb-ukm"}.get(code, code.lower())),  # its "gb" is England
    }
    flags = []
    for country_id in country_ids:
        for style in STYLES:
            svg = svgs[style](country_id)
            if svg is not None:
                flags.append(Flag(country_id=country_id, style=style, **vars(draw_svg(svg, box=BOX))))
    return flags


def _read_file(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _write_indicators(country_id: str) -> str:
    """Return the code points of a flag emoji: two regional indicator letters."""
    return "-".join(f"{0x1F1E6 + ord(letter) - ord('A'):x}" for letter in country_id)


def hash_pixels(flag: Flag) -> str:
    """Hash the pixels, so that two files with the same picture have the same hash."""
    pixels = Image.open(io.BytesIO(flag.image)).convert("RGB")
    return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).hexdigest()


def make_thumbnail(flag: Flag) -> np.ndarray:
    """Reduce a flag to 24 x 16 pixels, [16, 24, 3] in 0..1, for comparing what pictures show."""
    picture = Image.open(io.BytesIO(flag.image)).convert("RGB").resize((24, 16), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float32) / 255
