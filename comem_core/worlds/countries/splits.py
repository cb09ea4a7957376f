"""Decides by hash what is train, dev or test, so that it is the same in every run and in any order."""

from functools import partial

from comem_core.worlds import hashing

SALT = "comem-countries-1"
SPLITS = ("train", "dev", "test")
HELD_OUT_PAIRS = 0.15  # of the (train country, attribute) pairs; half of them dev, half test


hash_to_unit = partial(hashing.hash_to_unit, SALT)
"""Maps text to a number in [0, 1)."""

choose_one = partial(hashing.choose_one, SALT)
"""Picks one of some choices by the hash of a key."""


def choose_split(country_id: str) -> str:
    """Return the split of a country: 60 % train, 15 % dev, 25 % test."""
    place = hash_to_unit("split", country_id)
    return "train" if place < 0.60 else "dev" if place < 0.75 else "test"


def choose_pair_split(country_id: str, attribute: str) -> str:
    """Return the split of questions about a train country's attribute: train (seeds), or held out as dev or test."""
    place = hash_to_unit("pair", country_id, attribute)
    return "dev" if place < HELD_OUT_PAIRS / 2 else "test" if place < HELD_OUT_PAIRS else "train"
