"""Items that are there twice: found over a whole corpus by ids and hashes alone, in whatever parts it was read.

Of equal items the first in the corpus stays. Knows nothing of files and shards.

Shapes: N items in the order of the corpus.
"""

from typing import NamedTuple

import numpy as np


class Duplicates(NamedTuple):
    """Items that are there again, what each repeats (places in the corpus), and whether it does only nearly."""

    again: np.ndarray
    of: np.ndarray
    near: np.ndarray

    def merged(self, other: "Duplicates") -> "Duplicates":
        """Bring both together in the order of the corpus."""
        order = np.argsort(np.concatenate([self.again, other.again]), kind="stable")
        return Duplicates(*(np.concatenate(pair)[order] for pair in zip(self, other, strict=True)))


def equal_items(ids_N: np.ndarray) -> Duplicates:
    """Find items whose id (a 64-bit integer) came before."""
    _, first, inverse = np.unique(ids_N, return_index=True, return_inverse=True)
    first_of_N = first[inverse]
    again = np.flatnonzero(first_of_N != np.arange(len(ids_N)))
    return Duplicates(again, first_of_N[again], np.zeros(len(again), dtype=bool))


def near_items(words_N: np.ndarray, hashes_N2: np.ndarray, places_N: np.ndarray, *, max_bits: int) -> Duplicates:
    """Find items of the same words whose picture is near that of an item that stays: at most `max_bits` of 128 apart.

    `words_N` names text and language (64-bit integers), `hashes_N2` holds the two hashes of each picture
    (`knowledge.pictures`), `places_N` the items' places in the corpus, ascending.
    """
    found: list[tuple[int, int]] = []
    order = np.argsort(words_N, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(words_N[order])) + 1):
        if len(group) > 1:
            found += [(group[item], group[first]) for item, first in _near_in_group(hashes_N2[group], max_bits)]
    pairs = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
    return Duplicates(places_N[pairs[:, 0]], places_N[pairs[:, 1]], np.ones(len(pairs), dtype=bool))


def _near_in_group(hashes_N2: np.ndarray, max_bits: int) -> list[tuple[int, int]]:
    bits_N2 = np.ascontiguousarray(hashes_N2).view(np.uint64)
    kept, found = [0], []
    for place in range(1, len(bits_N2)):
        differ = np.bitwise_count(bits_N2[kept] ^ bits_N2[place]).sum(axis=1, dtype=np.int64)
        if differ.min() <= max_bits:
            found.append((place, kept[int(differ.argmin())]))
        else:
            kept.append(place)
    return found
