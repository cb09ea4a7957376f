"""Decides by hash what is train, dev or test, so that it is the same in every run and in any order."""

from functools import partial

from comem_core.worlds import hashing

SALT = "comem-emoji-1"

hash_to_unit = partial(hashing.hash_to_unit, SALT)
"""Maps text to a number in [0, 1)."""

choose_one = partial(hashing.choose_one, SALT)
"""Picks one of some choices by the hash of a key."""


def choose_split(emoji_id: str) -> str:
    """Return the split of an emoji: half train, a fifth dev, the rest test."""
    place = hash_to_unit("split", emoji_id)
    return "train" if place < 0.5 else "dev" if place < 0.7 else "test"
