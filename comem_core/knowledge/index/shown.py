"""Which items show a picture: sorted pairs of image_id and item_id, memory-mapped from disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comem_core.knowledge.index.ids import encode_ids, map_array

IMAGES_FILE, ITEMS_FILE = "shown_images.npy", "shown_items.npy"


class PictureItems:
    """The items of each picture. Opening reads no data; a look-up reads a few pages."""

    def __init__(self, image_ids_N: np.ndarray, item_ids_N: np.ndarray) -> None:
        self._image_ids_N, self._item_ids_N = image_ids_N, item_ids_N

    @classmethod
    def of(cls, image_ids: Sequence[str], item_ids: Sequence[str]) -> "PictureItems":
        """Pair the ids at the same place in both sequences. Their order does not matter."""
        images_N, items_N = encode_ids(image_ids), encode_ids(item_ids)
        order_N = np.lexsort((items_N, images_N))
        return cls(images_N[order_N], items_N[order_N])

    def find_items(self, image_id: str) -> frozenset[str]:
        """Return the ids of the items that show a picture; empty for a picture that no item shows."""
        # With the stored dtype, as otherwise a look-up copies all ids.
        wanted = np.array(image_id.encode(), dtype=self._image_ids_N.dtype)
        if len(image_id.encode()) > self._image_ids_N.dtype.itemsize:
            return frozenset()
        first, end = (int(np.searchsorted(self._image_ids_N, wanted, side=side)) for side in ("left", "right"))
        return frozenset(item_id.decode() for item_id in self._item_ids_N[first:end])

    def save(self, folder: Path) -> None:
        """Write the pairs into an existing folder."""
        np.save(folder / IMAGES_FILE, self._image_ids_N)
        np.save(folder / ITEMS_FILE, self._item_ids_N)

    @classmethod
    def open(cls, folder: Path) -> "PictureItems":
        """Memory-map what `save` wrote."""
        return cls(*(map_array(folder / file) for file in (IMAGES_FILE, ITEMS_FILE)))
