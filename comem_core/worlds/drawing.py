"""Draws icons of npm packages as small PNGs on white."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from resvg_py import svg_to_bytes  # pyright: ignore[reportMissingImports] (the extra `world`)

DRAWN = 640  # pixels; the width at which an icon is rasterised before it is cropped and reduced
COLOURS = 64


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """PNG bytes, with width and height in pixels."""

    image: bytes
    width: int
    height: int


class IconSet:
    """One Iconify set: its icons by name, and the names of its emoji by code points (`1f431`)."""

    def __init__(self, folder: Path) -> None:
        self.set = json.loads((folder / "icons.json").read_text())
        chars = folder / "chars.json"
        self.names = json.loads(chars.read_text()) if chars.exists() else {}

    def find_emoji(self, points: str) -> str | None:
        """Return the SVG of an emoji by its code points in hexadecimal, joined by `-` and without variation selectors
        (U+FE0F), which sets leave out; None if the set lacks it."""
        return self.find_icon(self.names.get(points))

    def find_icon(self, name: str | None) -> str | None:
        """Return the SVG of an icon by its name; None if the set lacks it."""
        icon = self.set["icons"].get(name)
        if icon is None:
            return None
        width, height = (icon.get(side, self.set.get(side, 16)) for side in ("width", "height"))
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        )


def draw_svg(svg: str, *, box: int) -> Drawn:
    """Rasterise, crop transparent margins, put on white, fit the longer side into `box` pixels, and reduce colours."""
    drawn = Image.open(io.BytesIO(bytes(svg_to_bytes(svg_string=svg, width=DRAWN)))).convert("RGBA")
    drawn = drawn.crop(drawn.getchannel("A").point([0] * 9 + [255] * 247).getbbox())
    white = Image.new("RGBA", drawn.size, "white")
    picture = Image.alpha_composite(white, drawn).convert("RGB")
    scale = box / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        packed, "PNG", optimize=True
    )
    return Drawn(image=packed.getvalue(), width=size[0], height=size[1])
