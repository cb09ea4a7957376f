"""Borrowed flags: real drawings of flags of the train split, shown with facts that belong to no real country.

Generated flags cannot teach how real artists differ. Flags of dev and test countries are never borrowed. Every picture
is a function of its seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from PIL import Image

from comem_core.backbone.images import decode
from comem_core.worlds.countries.world import KNOWLEDGE_STYLE, load_countries, load_flags
from comem_core.worlds.imaginary.flags import SUPERSAMPLING, draw_artist, finish

NUM_LOOKALIKES = 6


@dataclass(frozen=True)
class BorrowedFlag:
    """The flag of a train country."""

    country_id: str

    def picture(self, random: Random, height: int = 48) -> Image.Image:
        """Return one of its drawings in slightly shifted colours, finished in the style of another artist."""
        drawing = decode(random.choice(read_borrowed_drawings()[self.country_id]))
        artist = draw_artist(random)
        shift = [level / 2 for level in artist.shift[0]]
        levels = np.asarray(drawing, dtype=np.float32) + np.asarray(shift, dtype=np.float32)
        tall = height * SUPERSAMPLING
        shifted = Image.fromarray(levels.clip(0, 255).astype(np.uint8)).resize((round(tall * artist.aspect), tall))
        return finish(shifted, artist, height)

    def draw_lookalike(self, random: Random) -> "BorrowedFlag":
        """Draw one of the train flags that look most like it."""
        return BorrowedFlag(random.choice(_find_nearest()[self.country_id]))


def borrow_flag(random: Random) -> BorrowedFlag:
    """Draw the flag of a train country."""
    return BorrowedFlag(random.choice(_list_country_ids()))


@cache
def _list_country_ids() -> Sequence[str]:
    return [country.country_id for country in load_countries() if country.split == "train"]


@cache
def read_borrowed_drawings() -> Mapping[str, Sequence[bytes]]:
    """Return every drawing (PNG) that may be borrowed, by country."""
    found: dict[str, list[bytes]] = {country_id: [] for country_id in _list_country_ids()}
    for flag in load_flags():
        if flag.country_id in found:
            found[flag.country_id].append(flag.image)
    return found


@cache
def _find_nearest() -> Mapping[str, Sequence[str]]:
    """Map each country to the countries whose flags are nearest to its own, compared at 12 x 8 pixels."""
    ids = _list_country_ids()
    images = {flag.country_id: flag.image for flag in load_flags() if flag.style == KNOWLEDGE_STYLE}
    grids = np.stack([np.asarray(decode(images[each]).resize((12, 8)), dtype=np.float32).ravel() for each in ids])
    apart = np.abs(grids[:, None] - grids[None]).mean(axis=2)
    order: list[list[int]] = apart.argsort(axis=1)[:, 1 : NUM_LOOKALIKES + 1].tolist()
    return {country_id: [ids[place] for place in near] for country_id, near in zip(ids, order, strict=True)}
