"""An index out of shards: which items there are, the tables of vectors that workers write, and their merging.

Works on columns of ids and on one shard of vectors at a time, so that a corpus need not fit into memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.knowledge.index.approximate import Facts
from comem_core.knowledge.index.shown import Shown
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.index.vectors import VectorWriter
from comem_core.recipes.retrieval import IMAGE
from tasks.engine.partial import Partial
from tasks.engine.store import Reference


@dataclass(frozen=True, eq=False)
class Described:
    """The items of an artefact without their pictures and texts: item_id, image_id, language."""

    items: pa.Table

    @classmethod
    def read(cls, knowledge: Reference) -> "Described":
        return cls(_columns(knowledge, ["item_id", "image_id", "language"]))

    def __len__(self) -> int:
        return self.items.num_rows

    def of(self, side: str) -> "Described":
        """Keep the items that an index of this side holds: one of pictures leaves out items of text alone."""
        return Described(self.items.filter(self.items["image_id"].is_valid())) if side == IMAGE else self

    def pictures(self) -> list[tuple[str, str]]:
        """List each different picture once, as its image_id and the first item that shows it, in order of items.

        Raises:
            ValueError: no item has a picture.
        """
        pictured = self.of(IMAGE).items
        first: dict[str, str] = {}
        for image_id, item_id in zip(pictured["image_id"].to_pylist(), pictured["item_id"].to_pylist(), strict=True):
            first.setdefault(image_id, item_id)
        if not first:
            raise ValueError(f"none of {len(self)} items has a picture to search by; set retrieval.by to 'text'")
        return list(first.items())

    def texts(self, knowledge: Reference) -> list[tuple[str, int]]:
        """List each item as its id and the length of its text."""
        table = _columns(knowledge, ["item_id", "text"])
        return list(
            zip(table["item_id"].to_pylist(), pc.call_function("utf8_length", [table["text"]]).to_pylist(), strict=True)
        )

    def shown(self) -> Shown:
        """Pair up pictures and the items that show them."""
        pictured = self.of(IMAGE).items
        return Shown.of(pictured["image_id"].to_pylist(), pictured["item_id"].to_pylist())


def vector_table(keys: Sequence[str], found_NE: np.ndarray | None) -> pa.Table:
    """One batch as a worker writes it: the id of each picture or item, and its vector as little-endian float32."""
    raw = [] if found_NE is None else [row.tobytes() for row in found_NE.astype("<f4")]
    return pa.table({"key": pa.array(keys, pa.string()), "embedding": pa.array(raw, pa.binary())})


def merge_shards(artefact: Partial, knowledge: Reference, side: str, exact_up_to: int) -> Facts | None:
    """Write the index of one side out of its shards into the artefact; return what was measured if it is approximate.

    Vectors of an approximate index are kept in float16: rounding moves a cosine in its fifth decimal.
    """
    items = Described.read(knowledge).of(side).items
    item_ids, languages = items["item_id"].to_pylist(), items["language"].to_pylist()
    keys_N = np.array(items["image_id" if side == IMAGE else "item_id"].to_pylist(), dtype=np.bytes_)
    order_N = np.argsort(keys_N, kind="stable")
    sorted_N, writer = keys_N[order_N], None
    with artefact.open_folder(side) as folder:
        for path in sorted(artefact.folder.glob(f"{side}-*.parquet")):
            table = pq.read_table(path)
            vectors_BE = np.stack([np.frombuffer(raw, dtype="<f4") for raw in table["embedding"].to_pylist()])
            if writer is None:
                dtype = "float32" if len(item_ids) <= exact_up_to else "float16"
                width = vectors_BE.shape[1]
                writer = VectorWriter(folder, item_ids=item_ids, languages=languages, width=width, dtype=dtype)
            keys_B = np.array(table["key"].to_pylist(), dtype=np.bytes_)
            first_B, end_B = (np.searchsorted(sorted_N, keys_B, side=end) for end in ("left", "right"))
            places = [order_N[first:end] for first, end in zip(first_B, end_B, strict=True)]
            writer.put(np.concatenate(places), np.repeat(vectors_BE, end_B - first_B, axis=0))
        assert writer is not None  # there is at least one item, and so one shard
        index = VectorIndex.finish(writer, exact_up_to=exact_up_to)
    return None if index.approximate is None else index.approximate.facts


def _columns(knowledge: Reference, names: list[str]) -> pa.Table:
    paths = sorted(Path(knowledge.uri).glob("part-*.parquet"))
    return pa.concat_tables(pq.read_table(path, columns=names) for path in paths)
