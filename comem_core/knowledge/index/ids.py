"""Ids as sorted arrays of bytes of one length, which can be mapped into memory: a look-up reads a few pages.

Shapes: N ids, K ids that are looked up.
"""

from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np


def encode_ids(ids: Sequence[str]) -> np.ndarray:
    """Return ids as an array of UTF-8 bytes of one length, in their order."""
    return np.array([each.encode() for each in ids], dtype=np.bytes_)


def map_array(path: Path) -> np.ndarray:
    """Map an array of plain values into memory. Raises ValueError for a damaged file, and OSError for a missing one."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError, TokenError) as error:
        raise ValueError(f"{path} is damaged or cut off: {error}") from error


def find_ids(ids_N: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
    """Return the place of each wanted id among sorted ids, or -1: int64 (K,)."""
    found_K = np.full(len(wanted), -1, dtype=np.int64)
    if not len(ids_N) or not len(wanted):
        return found_K
    encoded = [each.encode() for each in wanted]
    # In the stored type, as otherwise each look-up copies all ids; a longer id is not among them.
    ids_K = np.array(encoded, dtype=ids_N.dtype)
    fits_K = np.array([len(each) <= ids_N.dtype.itemsize for each in encoded], dtype=bool)
    places_K = np.minimum(np.searchsorted(ids_N, ids_K), len(ids_N) - 1)
    there_K = fits_K & (ids_N[places_K] == ids_K)
    found_K[there_K] = places_K[there_K]
    return found_K
