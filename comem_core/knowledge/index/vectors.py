"""Vectors of items on disk or in memory: normalised rows, sorted by language and item_id, each found by its id.

Works with arrays, ids and files; independent of how candidates are found. Files are memory-mapped, so that opening
costs nothing and a search reads only the rows that it needs.

Shapes: N items, Q queries, E width of an embedding, F rows that were found.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from comem_core.knowledge.index.ids import encode_ids, find_ids, map_array
from comem_core.knowledge.languages import read_primary_code

VECTORS_FILE, IDS_FILE, RANGES_FILE = "vectors.npy", "item_ids.npy", "languages.json"
SCORE_DECIMALS = 6
"""Scores are rounded to this many decimals and ties rank by item_id, so neither batches nor threads change a rank."""
BLOCK_ROWS = 1 << 16
SCORED_AT_ONCE = 1 << 9  # rows that fit into the cache of a core


@dataclass(frozen=True, eq=False)
class Vectors:
    """The rows of one index. Each language is one range of rows, sorted by item_id."""

    vectors_NE: np.ndarray  # float32 or float16
    item_ids_N: np.ndarray  # UTF-8 bytes of one length
    ranges: Mapping[str, tuple[int, int]]

    def __len__(self) -> int:
        return len(self.item_ids_N)

    @property
    def width(self) -> int:
        return self.vectors_NE.shape[1]

    def find_id(self, row: int) -> str:
        return self.item_ids_N[row].decode()

    def find_rows(self, item_ids: Sequence[str]) -> np.ndarray:
        """Return the row of each item, or -1 if it is not in the index: int64 (len(item_ids),)."""
        rows = np.full(len(item_ids), -1, dtype=np.int64)
        for first, end in self.ranges.values():
            places = find_ids(self.item_ids_N[first:end], item_ids)
            rows[places >= 0] = first + places[places >= 0]
        return rows

    def find_rows_in(self, other: "Vectors") -> np.ndarray:
        """Return for each row here the row of the same item with the same vector in `other`, or -1: int64 (N,)."""
        places = np.full(len(self), -1, dtype=np.int64)
        for language, (first, end) in self.ranges.items():
            if language in other.ranges:
                start, stop = other.ranges[language]
                _, own, theirs = np.intersect1d(
                    self.item_ids_N[first:end], other.item_ids_N[start:stop], assume_unique=True, return_indices=True
                )
                places[first + own] = start + theirs
        shared = np.flatnonzero(places >= 0)
        for block in range(0, len(shared), BLOCK_ROWS):
            rows_B = shared[block : block + BLOCK_ROWS]
            differs_B = (self.vectors_NE[rows_B] != other.vectors_NE[places[rows_B]]).any(axis=1)
            places[rows_B[differs_B]] = -1
        return places

    def score_rows(self, rows_QF: np.ndarray, queries_QE: np.ndarray) -> np.ndarray:
        """Return the rounded cosines between each normalised query and some rows of its own: float64 (Q, F).

        Each is summed by itself, so that equal pictures get equal scores. It is -inf where a row is -1.
        """
        scores_QF, vectors_NE = np.empty(rows_QF.shape, dtype=np.float64), np.asarray(self.vectors_NE)
        step = max(1, SCORED_AT_ONCE // max(1, rows_QF.shape[1]))
        for start in range(0, len(rows_QF), step):
            rows_PFE = vectors_NE[rows_QF[start : start + step]].astype(np.float64)
            queries_PE = queries_QE[start : start + step].astype(np.float64)
            np.einsum("pfe,pe->pf", rows_PFE, queries_PE, out=scores_QF[start : start + step])
        scores_QF = np.round(scores_QF, SCORE_DECIMALS) + 0.0
        scores_QF[rows_QF < 0] = -np.inf
        return scores_QF

    def compare_all(self, queries_QE: np.ndarray, first: int, end: int, *, num: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of first..end with the highest inner products, best first, and these: (Q, num).

        Every row is compared, in float32.
        """
        num = min(num, end - first)
        scores_QF = np.zeros((len(queries_QE), 0), np.float32)
        rows_QF = np.zeros((len(queries_QE), 0), np.int64)
        for start, block_BE in self.read_blocks(first, end):
            more_scores, more_rows = faiss.knn(
                queries_QE, block_BE, min(num, len(block_BE)), metric=faiss.METRIC_INNER_PRODUCT
            )
            scores_QF = np.concatenate([scores_QF, more_scores], axis=1)
            rows_QF = np.concatenate([rows_QF, more_rows + start], axis=1)
            best_QF = np.argsort(-scores_QF, axis=1, kind="stable")[:, :num]
            scores_QF, rows_QF = (np.take_along_axis(each, best_QF, axis=1) for each in (scores_QF, rows_QF))
        return rows_QF, scores_QF

    def read_blocks(self, first: int = 0, end: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, rows as float32) of first..end, block by block."""
        end = len(self) if end is None else end
        for start in range(first, end, BLOCK_ROWS):
            yield start, np.ascontiguousarray(self.vectors_NE[start : min(start + BLOCK_ROWS, end)], dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the rows into an existing folder."""
        np.save(folder / VECTORS_FILE, self.vectors_NE)
        np.save(folder / IDS_FILE, self.item_ids_N)
        (folder / RANGES_FILE).write_text(json.dumps(self.ranges), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> "Vectors":
        """Memory-map what `save` or `VectorWriter` wrote. Raises ValueError for missing files or mixed indexes."""
        for file in (VECTORS_FILE, IDS_FILE, RANGES_FILE):
            if not (folder / file).is_file():
                raise ValueError(f"{folder} holds no index: {file} is missing; build the index again")
        vectors_NE = map_array(folder / VECTORS_FILE)
        item_ids_N = map_array(folder / IDS_FILE)
        ranges = json.loads((folder / RANGES_FILE).read_text(encoding="utf-8"))
        if len(vectors_NE) != len(item_ids_N):
            raise ValueError(
                f"{folder}: {VECTORS_FILE} holds {len(vectors_NE)} embeddings, {IDS_FILE} {len(item_ids_N)} items; "
                "they belong to different indexes; build the index again"
            )
        return cls(vectors_NE, item_ids_N, {language: (first, end) for language, (first, end) in ranges.items()})


class VectorWriter:
    """Writes the files of `Vectors` batch by batch, in any order, so that vectors need not fit into memory."""

    def __init__(self, folder: Path, *, item_ids: Sequence[str], languages: Sequence[str], width: int, dtype: str):
        """Lay out the rows on disk. Raises ValueError as `sort_rows`."""
        self.folder = folder
        order_N, ids_N, self._ranges = sort_rows(item_ids, languages)
        self._row_of_N = np.empty_like(order_N)
        self._row_of_N[order_N] = np.arange(len(order_N))
        self._ids_N, self._filled_N = ids_N, np.zeros(len(ids_N), dtype=bool)
        self._vectors_NE = np.lib.format.open_memmap(
            folder / VECTORS_FILE, mode="w+", dtype=dtype, shape=(len(ids_N), width)
        )

    def put(self, places: np.ndarray, embeddings: np.ndarray) -> None:
        """Store the embeddings of the items at these places in `item_ids`.

        Raises ValueError for another width, and as `normalise_embeddings`.
        """
        if embeddings.ndim == 2 and embeddings.shape[1] != self._vectors_NE.shape[1]:
            raise ValueError(
                f"the embeddings have the width {embeddings.shape[1]}; the index was laid out for "
                f"{self._vectors_NE.shape[1]}"
            )
        rows = self._row_of_N[places]
        self._vectors_NE[rows] = normalise_embeddings(embeddings, name="item embeddings")
        self._filled_N[rows] = True

    def finish(self) -> Vectors:
        """Complete the files. Raises ValueError, naming an item, if any item has no embedding."""
        if not self._filled_N.all():
            missing = self._ids_N[~self._filled_N]
            raise ValueError(f"{len(missing)} items have no embedding, first {missing[0].decode()}; embed them too")
        self._vectors_NE.flush()
        np.save(self.folder / IDS_FILE, self._ids_N)
        (self.folder / RANGES_FILE).write_text(json.dumps(self._ranges), encoding="utf-8")
        return Vectors.open(self.folder)


def sort_rows(
    item_ids: Sequence[str], languages: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[int, int]]]:
    """Return the order of items by language and id, their ids in that order, and each language's range of rows.

    A language is its primary code: `en-US` and `en` are one range.

    Raises:
        ValueError: there are no items, or an item_id is repeated.
    """
    if len(item_ids) == 0:
        raise ValueError("an index needs at least one item; found none")
    ids_N, languages_N = encode_ids(item_ids), encode_ids([read_primary_code(language) for language in languages])
    alone_N = np.sort(ids_N)
    if len(twice := alone_N[1:][alone_N[1:] == alone_N[:-1]]):
        raise ValueError(f"item_id {twice[0].decode()!r} is given more than once; an item has one embedding")
    order_N = np.lexsort((ids_N, languages_N))
    names, starts = np.unique(languages_N[order_N], return_index=True)
    ends = [*starts[1:], len(ids_N)]
    ranges = {name.decode(): (int(start), int(end)) for name, start, end in zip(names, starts, ends, strict=True)}
    return order_N, ids_N[order_N], ranges


def normalise_embeddings(embeddings: np.ndarray, *, name: str) -> np.ndarray:
    """Return embeddings (N, E) scaled to length 1. Raises ValueError that names a row which cannot be normalised."""
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype != np.float32:
        found = getattr(embeddings, "dtype", type(embeddings).__name__)
        raise ValueError(f"{name} must be a float32 array; found {found}")
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise ValueError(f"{name} must have the shape (number, width); found {embeddings.shape}")
    lengths_N = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    for row in np.flatnonzero(~np.isfinite(lengths_N) | (lengths_N == 0)):
        what = "is all zeros" if lengths_N[row] == 0 else "holds NaN or infinity"
        raise ValueError(f"{name}: row {row} {what}; embed its image again, or drop the item")
    return (embeddings / lengths_N[:, None]).astype(np.float32)
