"""Hashes by which worlds decide what is where, the same in every run and in any order; and the names of their data."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

Choice = TypeVar("Choice")


def hash_to_unit(salt: str, *parts: str) -> float:
    """Map text to a number in [0, 1), evenly distributed and always the same; each world has a salt of its own."""
    digest = hashlib.sha256("\x1f".join((salt, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def choose_one(salt: str, choices: Sequence[Choice], *key: str) -> Choice:
    """Pick one of some choices by the hash of a key, always the same one."""
    return choices[int(hash_to_unit(salt, *key) * len(choices))]


def hash_files(folder: Path, names: Sequence[str]) -> str:
    """Hash the content of files (16 hex digits)."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]
