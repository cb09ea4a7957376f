"""Which items' images look most like a question's image: exact search by inner product over normalised embeddings.

Knows arrays and ids. Pictures become embeddings in an `ImageEmbedder`, which lives elsewhere.

Shapes: N items, Q queries, E width of an embedding.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

INDEX_FILE, ITEMS_FILE = "index.faiss", "items.parquet"
SCORE_DECIMALS = 6
"""Scores are cosines rounded to this; equal scores rank by item_id, so neither batch nor thread changes a rank."""


class ImageEmbedder(Protocol):
    """Turns encoded pictures into vectors of one space."""

    @property
    def name(self) -> str: ...

    def embed(self, images: Sequence[bytes]) -> np.ndarray:
        """Return float32 embeddings (Q, E); they need not be normalised."""
        ...


@dataclass(frozen=True)
class Hits:
    """What was found for one query, best first: the rank of an item is its place, from 0. Scores are cosines."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(range(len(self.item_ids)))


class ImageIndex:
    """Items by the embedding of their image. Each language is one range of rows, so that it can be searched alone."""

    def __init__(
        self, embeddings: np.ndarray, *, item_ids: Sequence[str], languages: Sequence[str], embedder: str = "unnamed"
    ):
        """Build from embeddings (N, E) float32; the order of the items does not matter.

        Raises ValueError for no items, other shapes or types, NaN, a vector of zeros, or an item_id given twice.
        """
        embeddings_NE = normalised(embeddings, name="item embeddings")
        if not len(item_ids) == len(languages) == len(embeddings_NE):
            raise ValueError(
                f"each item needs an id, a language and an embedding; found {len(item_ids)} ids, {len(languages)} "
                f"languages and {len(embeddings_NE)} embeddings"
            )
        if len(item_ids) == 0:
            raise ValueError("an index needs at least one item; found none")
        if len(set(item_ids)) != len(item_ids):
            twice = next(item_id for item_id in sorted(item_ids) if list(item_ids).count(item_id) > 1)
            raise ValueError(f"item_id {twice!r} is given more than once; an item has one embedding")
        order = sorted(range(len(item_ids)), key=lambda row: (languages[row], item_ids[row]))
        self.item_ids = tuple(item_ids[row] for row in order)
        self.languages = tuple(languages[row] for row in order)
        self.embedder = embedder
        self._faiss = faiss.IndexFlatIP(embeddings_NE.shape[1])
        self._faiss.add(np.ascontiguousarray(embeddings_NE[order]))
        self._ranges = _ranges(self.languages)

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def width(self) -> int:
        return self._faiss.d

    def search(
        self,
        embeddings: np.ndarray,
        *,
        k: int,
        languages: Sequence[str] | None = None,
        excluded: Sequence[Collection[str]] | None = None,
    ) -> list[Hits]:
        """Return up to k items for each query embedding (Q, E), best first; fewer where fewer remain.

        `languages` (one a query) keeps to items in that language; `excluded` (one collection of item ids a query)
        leaves items out. Raises ValueError for a wrong shape or type, NaN, k < 1, or a language without any item.
        """
        queries_QE = normalised(embeddings, name="query embeddings")
        if queries_QE.shape[1] != self.width:
            raise ValueError(
                f"the index holds embeddings of width {self.width}; the queries have {queries_QE.shape[1]}"
            )
        if k < 1:
            raise ValueError(f"k is the number of items to find, at least 1; found {k}")
        for name, given in (("languages", languages), ("excluded", excluded)):
            if given is not None and len(given) != len(queries_QE):
                raise ValueError(f"{name} has one entry a query; found {len(given)} for {len(queries_QE)} queries")
        found: list[Hits] = [Hits((), ())] * len(queries_QE)
        for language in sorted(set(languages)) if languages is not None else [None]:
            first, end = self._range(language)
            asked = [row for row in range(len(found)) if languages is None or languages[row] == language]
            left_out = [frozenset(excluded[row]) if excluded else frozenset() for row in asked]
            for row, hits in zip(
                asked, self._search(queries_QE[asked], first, end, k=k, left_out=left_out), strict=True
            ):
                found[row] = hits
        return found

    def save(self, folder: Path) -> None:
        """Write the index into an existing folder, as one FAISS and one Parquet file."""
        faiss.write_index(self._faiss, str(folder / INDEX_FILE))
        items = pa.table({"item_id": self.item_ids, "language": self.languages})
        pq.write_table(items.replace_schema_metadata({"embedder": self.embedder}), folder / ITEMS_FILE)

    @classmethod
    def load(cls, folder: Path) -> "ImageIndex":
        """Read what `save` wrote. Raises ValueError when a file is missing or the two do not belong together."""
        for file in (INDEX_FILE, ITEMS_FILE):
            if not (folder / file).is_file():
                raise ValueError(f"{folder} holds no image index: {file} is missing; build the index again")
        stored = faiss.read_index(str(folder / INDEX_FILE))
        items = pq.read_table(folder / ITEMS_FILE)
        if stored.ntotal != items.num_rows:
            raise ValueError(
                f"{folder}: {INDEX_FILE} holds {stored.ntotal} embeddings, {ITEMS_FILE} {items.num_rows} items; they "
                "are not of one index, build it again"
            )
        return cls(
            stored.reconstruct_n(0, stored.ntotal),
            item_ids=items["item_id"].to_pylist(),
            languages=items["language"].to_pylist(),
            embedder=(items.schema.metadata or {}).get(b"embedder", b"unnamed").decode(),
        )

    def _range(self, language: str | None) -> tuple[int, int]:
        if language is None:
            return 0, len(self)
        if language not in self._ranges:
            raise ValueError(
                f"no item in language {language!r}; the index holds {', '.join(self._ranges)}. Add items, or search "
                "without the restriction to the question's language"
            )
        return self._ranges[language]

    def _search(
        self, queries_QE: np.ndarray, first: int, end: int, *, k: int, left_out: Sequence[frozenset[str]]
    ) -> list[Hits]:
        """Search rows first..end, fetching more until no item that was not fetched can tie with the k-th."""
        num_fetched = min(end - first, k + max(map(len, left_out), default=0) + 8)
        while True:
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorRange(first, end))  # pyright: ignore[reportCallIssue]
            scores_QF, rows_QF = self._faiss.search(queries_QE, num_fetched, params=parameters)
            hits = [
                self._ranked(query_E, rows_F, left_out=ids, k=k)
                for query_E, rows_F, ids in zip(queries_QE, rows_QF, left_out, strict=True)
            ]
            margin = 2 * 10.0**-SCORE_DECIMALS
            if num_fetched == end - first or all(
                len(each.scores) == k and each.scores[-1] > worst + margin
                for each, worst in zip(hits, scores_QF[:, -1], strict=True)
            ):
                return hits
            num_fetched = min(end - first, num_fetched * 4)

    def _ranked(self, query_E: np.ndarray, rows_F: np.ndarray, *, left_out: frozenset[str], k: int) -> Hits:
        """Score the fetched rows again one by one in float64, so that equal images get equal scores."""
        rows = [int(row) for row in rows_F if row >= 0 and self.item_ids[row] not in left_out]
        if not rows:
            return Hits((), ())
        items_FE = self._faiss.reconstruct_batch(np.array(rows)).astype(np.float64)
        scores_F = np.round((items_FE * query_E.astype(np.float64)).sum(1), SCORE_DECIMALS) + 0.0
        best = sorted(zip(-scores_F, (self.item_ids[row] for row in rows), strict=True))[:k]
        return Hits(tuple(item_id for _, item_id in best), tuple(float(-score) for score, _ in best))


def normalised(embeddings: np.ndarray, *, name: str) -> np.ndarray:
    """Return embeddings (N, E) scaled to length 1. Raises ValueError that says which row is not a direction."""
    if not isinstance(embeddings, np.ndarray) or embeddings.dtype != np.float32:
        found = getattr(embeddings, "dtype", type(embeddings).__name__)
        raise ValueError(f"{name} are a float32 array; found {found}")
    if embeddings.ndim != 2 or embeddings.shape[1] == 0:
        raise ValueError(f"{name} have the shape (number, width); found {embeddings.shape}")
    lengths_N = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    for row in np.flatnonzero(~np.isfinite(lengths_N) | (lengths_N == 0)):
        what = "is all zeros" if lengths_N[row] == 0 else "holds NaN or infinity"
        raise ValueError(f"{name}: row {row} {what}; embed its image again, or drop the item")
    return (embeddings / lengths_N[:, None]).astype(np.float32)


def recall_at_k(retrieved: Sequence[Sequence[str]], gold: Sequence[str], *, k: int) -> float:
    """Return the share of queries whose gold item is among the first k retrieved. Raises ValueError for no query."""
    if len(retrieved) != len(gold) or not gold:
        raise ValueError(f"recall needs one gold item a query; found {len(gold)} for {len(retrieved)} queries")
    return sum(item_id in found[:k] for found, item_id in zip(retrieved, gold, strict=True)) / len(gold)


def _ranges(languages: Sequence[str]) -> dict[str, tuple[int, int]]:
    starts = [row for row in range(len(languages)) if row == 0 or languages[row] != languages[row - 1]]
    ends = [*starts[1:], len(languages)]
    return {languages[start]: (start, end) for start, end in zip(starts, ends, strict=True)}
