"""What an earlier reading of a corpus made of its rows, found by keys of everything that decides a row or a picture.

A key is half of a SHA-256. Independent of files and of where the earlier rows are kept.
"""

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.pictures import Prepared

KEY_BYTES = 16


@dataclass(frozen=True, eq=False)
class KnownRow:
    """An item as it was made before, the hashes and the key of its picture, and whether its language is certain."""

    item: KnowledgeItem
    hashes: tuple[int, int] | None
    language_certain: bool
    picture_key: bytes | None


class KnownRows(Protocol):
    """The rows of earlier readings with the same options."""

    def find_rows(self, keys: Sequence[bytes | None]) -> Sequence[KnownRow | None]:
        """Return what was made of the rows with these keys; None for one that is not known."""
        ...

    def find_picture(self, key: bytes) -> Prepared | None:
        """Return what was made of the picture with this key."""
        ...


def make_key(*parts: Any) -> bytes | None:
    """Return a key of plain values; None if one of them is of another kind, such as a date."""
    try:
        return hash_bytes(marshal.dumps(parts, 0))  # version 0 writes equal values alike, whatever objects they share
    except ValueError:
        return None


def hash_bytes(content: bytes | bytearray | memoryview) -> bytes:
    """Return the key of a picture's bytes as a corpus holds them."""
    return sha256(content).digest()[:KEY_BYTES]
