"""Finds duplicate items in a whole corpus, by ids and hashes alone, however the corpus was split for reading.

Of equal items, the first in the corpus stays. Independent of files and shards.

Shapes: N items in the order of the corpus.
"""

from typing import NamedTuple

import numpy as np


class Duplicates(NamedTuple):
    """Repeated items (`again`) and the items that they repeat (`of`), as places in the corpus; `near`: only similar."""

    again: np.ndarray
    of: np.ndarray
    near: np.ndarray

    def merge(self, other: "Duplicates") -> "Duplicates":
        """Merge both, in the order of the corpus."""
        order = np.argsort(np.concatenate([self.again, other.again]), kind="stable")
        return Duplicates(*(np.concatenate(pair)[order] for pair in zip(self, other, strict=True)))


def find_equal_items(ids_N: np.ndarray) -> Duplicates:
    """Find items whose id (a 64-bit integer) occurred before."""
    order_N = np.argsort(ids_N, kind="stable")
    same_N, begins, ends = _find_runs(ids_N[order_N])
    again, of = order_N[1:][same_N], np.repeat(order_N[begins], ends - begins - 1)
    in_order = np.argsort(again, kind="stable")
    return Duplicates(again[in_order], of[in_order], np.zeros(len(again), dtype=bool))


def find_near_items(words_N: np.ndarray, hashes_N2: np.ndarray, places_N: np.ndarray, *, max_bits: int) -> Duplicates:
    """Find items with the same words and a similar picture as an item that stays: at most `max_bits` of 128 differ.

    `words_N` identifies text and language (64-bit integers), `hashes_N2` holds the two hashes of each picture
    (`knowledge.pictures`), and `places_N` holds the items' places in the corpus, ascending.
    """
    found: list[tuple[int, int]] = []
    order_N = np.argsort(words_N, kind="stable")
    _, begins, ends = _find_runs(words_N[order_N])
    for begin, end in zip(begins, ends, strict=True):
        group = order_N[begin:end]
        found += [(group[item], group[first]) for item, first in _find_near_in_group(hashes_N2[group], max_bits)]
    pairs = np.array(sorted(found), dtype=np.int64).reshape(-1, 2)
    return Duplicates(places_N[pairs[:, 0]], places_N[pairs[:, 1]], np.ones(len(pairs), dtype=bool))


def _find_runs(sorted_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each value but the first, whether it equals the previous one; and begins and ends of equal runs.

    A value that occurs once is in no run, so that a corpus of millions with few duplicates costs little.
    """
    same_N = sorted_N[1:] == sorted_N[:-1]
    begins, ends = np.flatnonzero(np.diff(same_N, prepend=False, append=False)).reshape(-1, 2).T
    return same_N, begins, ends + 1


def _find_near_in_group(hashes_N2: np.ndarray, max_bits: int) -> list[tuple[int, int]]:
    bits_N2 = np.ascontiguousarray(hashes_N2).view(np.uint64)
    kept, found = [0], []
    for place in range(1, len(bits_N2)):
        differ = np.bitwise_count(bits_N2[kept] ^ bits_N2[place]).sum(axis=1, dtype=np.int64)
        if differ.min() <= max_bits:
            found.append((place, kept[int(differ.argmin())]))
        else:
            kept.append(place)
    return found
