"""Indexes of the items' pictures and texts. Workers embed them into shards, which are then merged into one index.

A vector that the index of another corpus has is not computed again. The merge holds columns of ids and some thousand
vectors at a time, so that a corpus need not fit into memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial as bind
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.addresses.copies import find_whole, open_folder
from comem_core.knowledge.embedders.registry import BACKBONE, name_kind
from comem_core.knowledge.index.approximate import INDEX_FILE, Facts
from comem_core.knowledge.index.shown import PictureItems
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.index.vectors import VectorWriter
from comem_core.knowledge.searching import IMAGE, PICTURES, TEXT
from comem_core.recipes.retrieval import name_sides
from comem_core.serving.layout import INDEX_STAGE, Record
from comem_core.serving.search_keys import EMBEDDERS, IndexKey, read_index_key
from tasks.data.embedders import find_embedder, name_embedders
from tasks.engine.on_ray import run_on_ray
from tasks.engine.partial import Partial
from tasks.engine.reuse import NAMING, Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.rows.earlier import ROWS_AT_ONCE, LastingRows, count_missing, find_rows, is_of_these_libraries, take_over
from tasks.rows.tables import read_items
from tasks.run import Run

INDEX = Stage(name=INDEX_STAGE, version="2")
VECTORS = pa.schema([("key", pa.string()), ("embedding", pa.binary())])


@stage_task(name="build-index")
def build_index(run: Run, knowledge: Reference) -> Reference:
    """Embed every distinct picture, every text, or both, once each, and index the items by them."""
    recipe, sides = run.recipe.retrieval, name_sides(run.recipe.retrieval)
    own = sides.get(IMAGE) == BACKBONE
    key = IndexKey(
        embedders={side: name_kind(name) for side, name in sides.items()},
        grid=recipe.grid if own else None,
        visual_tokens=run.recipe.training.encoder.item_visual_tokens if own else None,
        exact_up_to=recipe.exact_up_to,
    )
    inputs = name_embedders(run) | {"knowledge": knowledge}

    def make(artefact: Partial) -> None:
        described, facts = Described.read(knowledge), {}
        for side in sides:
            lasting = _describe_vectors(key, side, inputs)
            _embed(run, artefact, knowledge, lasting, described)
            earlier = _find_earlier_index(Store.of(run.context), lasting, side)
            facts[side] = _merge_side(run, artefact, knowledge, side, len(described.of(side)), earlier)
        for side, found in facts.items():
            artefact.measure(f"{side}_index", asdict(found) if found else "every item is compared")
        if recalls := [found.recall_at_10 for found in facts.values() if found]:
            artefact.measure("recall_at_10", min(recalls))
        if apart := {side: name for side, name in sides.items() if name != name_kind(name)}:
            artefact.measure(EMBEDDERS, apart)  # their kinds alone do not say where the weights are
        with artefact.open_folder(PICTURES) as folder:
            described.pair_pictures().save(folder)

    def count() -> tuple[int, int]:
        described, found = Described.read(knowledge), []
        for side in sides:
            units = described.list_units(side, knowledge)
            found.append(count_missing(run.context, _describe_vectors(key, side, inputs), [each[0] for each in units]))
        return sum(total for total, _ in found), sum(missing for _, missing in found)

    return run_stage(run, INDEX, key, inputs, make, count_missing=count)


def _describe_vectors(key: IndexKey, side: str, inputs: Mapping[str, Reference]) -> LastingRows:
    """Describe the vectors of a side, which the index of another corpus may have: with the same embedder, libraries
    and, for the backbone, the same view of pictures. The key of a vector is the id of its picture or item."""
    own = key.embedders[side] == BACKBONE
    role = BACKBONE if own else f"{side}_embedder"

    def accepts(record: Record) -> bool:
        if record.get("naming") != NAMING or not is_of_these_libraries(record):
            return False
        other = read_index_key(record["recipe"])
        same_view = not own or (other.grid, other.visual_tokens) == (key.grid, key.visual_tokens)
        same_kind = other.embedders.get(side) == key.embedders[side]
        return same_kind and same_view and record["inputs"].get(role) == inputs[role].fingerprint

    return LastingRows(stage=INDEX, key="key", shard=f"{side}-embedded-before", schema=VECTORS, accepts=accepts)


def _embed(run: Run, artefact: Partial, knowledge: Reference, lasting: LastingRows, described: "Described") -> None:
    """Embed the pictures or texts that no earlier index has."""
    side = lasting.shard.partition("-")[0]
    units = described.list_units(side, knowledge)
    find = bind(find_rows, Store.of(run.context), lasting, [each[0] for each in units])
    known = take_over(artefact, lasting, find, total=len(units))
    if left := [each for each in units if each[0] not in known]:
        work = bind(_make_image_work if side == IMAGE else _make_text_work, run, knowledge)
        length = _get_length if side == TEXT else None
        make_shards(run.context, artefact, left, work, prefix=side, length=length)


def _find_earlier_index(store: Store, lasting: LastingRows, side: str) -> str | None:
    """Return the place of the newest index of a side, with the same embedder, whose lists can take in new vectors."""
    for record in reversed(store.list_records(INDEX.name)):
        files = {each["file"]: each["sha256"] for each in record["shards"]}
        lists = f"{side}/{INDEX_FILE}"
        if record["version"] == INDEX.version and lists in files and lasting.accepts and lasting.accepts(record):
            return record["uri"] if find_whole(record["uri"], lists, files[lists]) else None
    return None


def _merge_side(
    run: Run, artefact: Partial, knowledge: Reference, side: str, num_items: int, earlier: str | None
) -> Facts | None:
    """Make the index of one side from its shards: in this process if that is quick, else on a worker."""
    exact_up_to = run.recipe.retrieval.exact_up_to
    arguments = (artefact, knowledge, side, exact_up_to)
    if num_items <= exact_up_to:
        return merge_shards(*arguments)
    return run_on_ray(merge_shards, *arguments, earlier, num_cpus=run.context.cpus_per_actor)


def _make_image_work(run: Run, knowledge: Reference) -> Work:
    embedder, items = find_embedder(run, name_sides(run.recipe.retrieval)[IMAGE]), read_items(knowledge)

    def work(batch: Sequence[tuple[str, str]]) -> pa.Table:
        if not batch:
            return VECTORS.empty_table()
        pictures = [items[item_id].picture for _, item_id in batch]
        # Alone, a picture gets a vector that differs in the last bits, so it is embedded beside itself.
        found_NE = embedder.embed_images(pictures if len(batch) > 1 else pictures * 2)[: len(batch)]
        return make_vector_table([image_id for image_id, _ in batch], found_NE)

    return work


def _make_text_work(run: Run, knowledge: Reference) -> Work:
    embedder, items = find_embedder(run, name_sides(run.recipe.retrieval)[TEXT]), read_items(knowledge)

    def work(batch: Sequence[tuple[str, int]]) -> pa.Table:
        texts = [items[item_id].text for item_id, _ in batch]
        return make_vector_table([item_id for item_id, _ in batch], embedder.embed_texts(texts, as_query=False))

    return work


def _get_length(unit: tuple[str, int]) -> int:
    return unit[1]


@dataclass(frozen=True, eq=False)
class Described:
    """The items of an artefact without their pictures and texts: item_id, image_id, language."""

    items: pa.Table

    @classmethod
    def read(cls, knowledge: Reference) -> "Described":
        return cls(_read_columns(knowledge, ["item_id", "image_id", "language"]))

    def __len__(self) -> int:
        return self.items.num_rows

    def of(self, side: str) -> "Described":
        """Return the items in an index of this side; the index of pictures leaves out items without a picture."""
        return Described(self.items.filter(self.items["image_id"].is_valid())) if side == IMAGE else self

    def list_units(self, side: str, knowledge: Reference) -> Sequence[tuple[str, Any]]:
        """List what a side embeds: the key of each vector, with what a worker needs to know of it."""
        return self.list_pictures() if side == IMAGE else self.list_texts(knowledge)

    def list_pictures(self) -> list[tuple[str, str]]:
        """List each distinct picture as its image_id and the item_id of the first item that shows it, in item order.

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

    def list_texts(self, knowledge: Reference) -> list[tuple[str, int]]:
        """List each item as its id and the length of its text."""
        table = _read_columns(knowledge, ["item_id", "text"])
        return list(
            zip(table["item_id"].to_pylist(), pc.call_function("utf8_length", [table["text"]]).to_pylist(), strict=True)
        )

    def pair_pictures(self) -> PictureItems:
        """Pair pictures with the items that show them."""
        pictured = self.of(IMAGE).items
        return PictureItems.of(pictured["image_id"].to_pylist(), pictured["item_id"].to_pylist())


def make_vector_table(keys: Sequence[str], found_NE: np.ndarray | None) -> pa.Table:
    """Make a worker's table for one batch: the id of each picture or item, and its vector as little-endian float32."""
    raw = [] if found_NE is None else [row.tobytes() for row in found_NE.astype("<f4")]
    return pa.table([pa.array(keys, pa.string()), pa.array(raw, pa.binary())], schema=VECTORS)


def merge_shards(
    artefact: Partial, knowledge: Reference, side: str, exact_up_to: int, earlier: str | None = None
) -> Facts | None:
    """Merge the shards of one side into its index; return the measured facts if the index is approximate.

    The lists of an `earlier` index, at a folder or an address, take in the vectors that are new. An approximate index
    keeps vectors in float16; the rounding changes a cosine in its fifth decimal.
    """
    artefact.fetch_finished()
    lists = open_folder(earlier, lambda file: file.startswith(f"{side}/")) / side if earlier else None
    items = Described.read(knowledge).of(side).items
    item_ids, languages = items["item_id"].to_pylist(), items["language"].to_pylist()
    keys_N = np.array(items["image_id" if side == IMAGE else "item_id"].to_pylist(), dtype=np.bytes_)
    order_N = np.argsort(keys_N, kind="stable")
    sorted_N, writer = keys_N[order_N], None
    with artefact.open_folder(side) as folder:
        for table in _read_vectors(artefact.folder, side):
            raw = table["embedding"].to_pylist()
            vectors_BE = np.frombuffer(b"".join(raw), dtype="<f4").reshape(len(raw), -1)
            if writer is None:
                dtype = "float32" if len(item_ids) <= exact_up_to else "float16"
                width = vectors_BE.shape[1]
                writer = VectorWriter(folder, item_ids=item_ids, languages=languages, width=width, dtype=dtype)
            keys_B = np.array(table["key"].to_pylist(), dtype=np.bytes_)
            first_B, end_B = (np.searchsorted(sorted_N, keys_B, side=end) for end in ("left", "right"))
            counts_B = end_B - first_B
            inside = np.arange(counts_B.sum()) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
            places = order_N[np.repeat(first_B, counts_B) + inside]
            writer.put(places, np.repeat(vectors_BE, counts_B, axis=0))
        assert writer is not None  # there is at least one item, so there is at least one shard
        index = VectorIndex.finish(writer, exact_up_to=exact_up_to, earlier=lists)
    return None if index.approximate is None else index.approximate.facts


def _read_vectors(folder: Path, side: str) -> Iterator[pa.RecordBatch]:
    """Yield the vectors of a side, some thousand at a time."""
    for path in sorted(folder.glob(f"{side}-*.parquet")):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(ROWS_AT_ONCE)


def _read_columns(knowledge: Reference, names: list[str]) -> pa.Table:
    paths = sorted(knowledge.folder.glob("part-*.parquet"))
    return pa.concat_tables(pq.read_table(path, columns=names) for path in paths)
