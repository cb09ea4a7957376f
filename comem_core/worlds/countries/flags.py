"""Draws each country's flag in every style as a small PNG on white. Independent of facts."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from resvg_py import svg_to_bytes  # pyright: ignore[reportMissingImports] (the extra `world`)

from comem_core.worlds.countries.world import STYLES, Flag

BOX = 160  # pixels; the longer side of a picture
DRAWN = 640  # pixels; the width at which it is rasterised before it is cropped and reduced
COLOURS = 64


def draw_flags(modules: Path, country_ids: list[str]) -> list[Flag]:
    """Draw every flag of these countries that the four packages have, in the order of countries and styles."""
    svgs = {
        "flag-icons": lambda code: _read_file(modules / "flag-icons" / "flags" / "4x3" / f"{code.lower()}.svg"),
        "country-flag-icons": lambda code: _read_file(modules / "country-flag-icons" / "3x2" / f"{code}.svg"),
        "twemoji": _Icons(modules / "@iconify-json" / "twemoji").by_emoji,
        "flagpack": _Icons(modules / "@iconify-json" / "flagpack").by_code,
    }
    flags = []
    for country_id in country_ids:
        for style in STYLES:
            svg = svgs[style](country_id)
            if svg is not None:
                flags.append(_draw(svg, country_id=country_id, style=style))
    return flags


def _read_file(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


class _Icons:
    """One Iconify set: its icons by name, and the names of its emoji by code points."""

    def __init__(self, folder: Path) -> None:
        self.set = json.loads((folder / "icons.json").read_text())
        chars = folder / "chars.json"
        self.chars = json.loads(chars.read_text()) if chars.exists() else {}

    def by_code(self, country_id: str) -> str | None:
        return self._svg({"GB": "gb-ukm"}.get(country_id, country_id.lower()))  # its "gb" is the flag of England

    def by_emoji(self, country_id: str) -> str | None:
        """Find a flag emoji by its two regional indicator letters."""
        return self._svg(self.chars.get("-".join(f"{0x1F1E6 + ord(letter) - ord('A'):x}" for letter in country_id)))

    def _svg(self, name: str | None) -> str | None:
        icon = self.set["icons"].get(name)
        if icon is None:
            return None
        width, height = (icon.get(side, self.set.get(side, 16)) for side in ("width", "height"))
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        )


def _draw(svg: str, *, country_id: str, style: str) -> Flag:
    """Rasterise, crop transparent margins, put on white, fit into the box, and reduce the colours."""
    drawn = Image.open(io.BytesIO(bytes(svg_to_bytes(svg_string=svg, width=DRAWN)))).convert("RGBA")
    drawn = drawn.crop(drawn.getchannel("A").point([0] * 9 + [255] * 247).getbbox())
    white = Image.new("RGBA", drawn.size, "white")
    picture = Image.alpha_composite(white, drawn).convert("RGB")
    scale = BOX / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        packed, "PNG", optimize=True
    )
    return Flag(country_id=country_id, style=style, image=packed.getvalue(), width=size[0], height=size[1])


def hash_pixels(flag: Flag) -> str:
    """Hash the pixels, so that two files with the same picture have the same hash."""
    pixels = Image.open(io.BytesIO(flag.image)).convert("RGB")
    return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).hexdigest()


def make_thumbnail(flag: Flag) -> np.ndarray:
    """Reduce a flag to 24 x 16 pixels, [16, 24, 3] in 0..1, for comparing what pictures show."""
    picture = Image.open(io.BytesIO(flag.image)).convert("RGB").resize((24, 16), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float32) / 255
