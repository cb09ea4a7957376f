"""Finds the items nearest to a query: candidates first, then cosines from the stored vectors, with ties by item_id.

Owns the definition of scores and ranks, which is the same for every size of index. Works with arrays and ids; pictures
and texts become vectors in `knowledge.embedders`.

Shapes: N items, Q queries, E width of an embedding, F candidates.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comem_core.knowledge.index.approximate import WHOLE_UP_TO, Approximate
from comem_core.knowledge.index.ids import encode_ids
from comem_core.knowledge.index.vectors import SCORE_DECIMALS, Vectors, VectorWriter, normalise_embeddings, sort_rows
from comem_core.knowledge.languages import read_primary_code

EXACT_UP_TO = 50_000
SPARE = 8
"""Rows that are fetched besides the wanted ones, to see that no other can tie with the last of them."""
SECOND_LOOK = 1024
"""The least number of rows fetched again if, after the first fetch, an unseen item could still tie with the k-th."""
MARGIN = 2 * 10.0**-SCORE_DECIMALS
"""Unfetched rows score at most this much more than the lowest of the fetched ones, which float32 has ordered."""
NAME_FILE = "index.json"


@dataclass(frozen=True)
class Hits:
    """The items found for one query, best first: an item's rank is its place, from 0. Scores are cosines."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]


class VectorIndex:
    """An index of items by their embeddings. Each language is one range of rows, so that it can be searched alone."""

    def __init__(
        self, embeddings: np.ndarray, *, item_ids: Sequence[str], languages: Sequence[str], embedder: str = "unnamed"
    ):
        """Build an exact index in memory from embeddings (N, E) float32; the order of items does not matter.

        Raises ValueError if there are no items, for other shapes or types, NaN, a zero vector, or a repeated item_id.
        """
        embeddings_NE = normalise_embeddings(embeddings, name="item embeddings")
        if not len(item_ids) == len(languages) == len(embeddings_NE):
            raise ValueError(
                f"each item needs an id, a language and an embedding; found {len(item_ids)} ids, {len(languages)} "
                f"languages and {len(embeddings_NE)} embeddings"
            )
        order_N, ids_N, ranges = sort_rows(item_ids, languages)
        self.vectors = Vectors(np.ascontiguousarray(embeddings_NE[order_N]), ids_N, ranges)
        self.approximate: Approximate | None = None
        self.embedder, self.exact_up_to = embedder, len(ids_N)

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        return self.vectors.width

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages of the items, sorted."""
        return tuple(self.vectors.ranges)

    def has_language(self, language: str) -> bool:
        """Tell whether an item is in a language, whatever its region and script."""
        return not self.vectors.ranges.keys().isdisjoint((language, read_primary_code(language)))

    def search(
        self,
        embeddings: np.ndarray,
        *,
        k: int,
        languages: Sequence[str] | None = None,
        excluded: Sequence[Collection[str]] | None = None,
    ) -> list[Hits]:
        """Return up to k items for each query embedding (Q, E), best first; fewer where fewer remain.

        `languages` (one per query) restricts the search to items in that language; `excluded` (one collection of item
        ids per query) leaves items out. Raises ValueError for a wrong shape or type, NaN, k < 1, or a language without
        items.
        """
        queries_QE = self.check_queries(embeddings)
        if k < 1:
            raise ValueError(f"k is the number of items to find, at least 1; found {k}")
        for name, given in (("languages", languages), ("excluded", excluded)):
            if given is not None and len(given) != len(queries_QE):
                raise ValueError(f"{name} needs one entry per query; found {len(given)} for {len(queries_QE)} queries")
        found: list[Hits] = [Hits((), ())] * len(queries_QE)
        for language in sorted(set(languages)) if languages is not None else [None]:
            first, end = self._find_range(language)
            asked = [row for row in range(len(found)) if languages is None or languages[row] == language]
            left_out = [excluded[row] if excluded else () for row in asked]
            for row, hits in zip(
                asked, self._search(queries_QE[asked], first, end, k=k, left_out=left_out), strict=True
            ):
                found[row] = hits
        return found

    def check_queries(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the query embeddings, normalised. Raises ValueError as `search`."""
        queries_QE = normalise_embeddings(embeddings, name="query embeddings")
        if queries_QE.shape[1] != self.width:
            raise ValueError(
                f"the index holds embeddings of width {self.width}; the queries have {queries_QE.shape[1]}"
            )
        return queries_QE

    def save(self, folder: Path) -> None:
        """Write the index into an existing folder."""
        self.vectors.save(folder)
        self._save_name(folder)
        if self.approximate is not None:
            self.approximate.save(folder)

    @classmethod
    def load(cls, folder: Path) -> "VectorIndex":
        """Memory-map what `save` or `finish` wrote; a search reads only what it needs.

        Raises ValueError if a file is missing, or files belong to different indexes.
        """
        made = cls.__new__(cls)
        made.vectors, made.approximate = Vectors.open(folder), Approximate.open(folder)
        facts = json.loads((folder / NAME_FILE).read_text(encoding="utf-8"))
        made.embedder, made.exact_up_to = facts["embedder"], facts["exact_up_to"]
        return made

    @classmethod
    def finish(
        cls,
        written: VectorWriter,
        *,
        embedder: str = "unnamed",
        exact_up_to: int = EXACT_UP_TO,
        whole_up_to: int = WHOLE_UP_TO,
        earlier: Path | None = None,
    ) -> "VectorIndex":
        """Complete an index from written vectors; above `exact_up_to` items it gets an approximate index.

        `earlier` is the folder of an index that has some of the vectors; its lists take in the others.
        """
        made = cls.__new__(cls)
        made.vectors, made.approximate = written.finish(), None
        made.embedder, made.exact_up_to = embedder, exact_up_to
        if len(made) > exact_up_to:
            grown = None if earlier is None else made._grow_out_of(earlier)
            made.approximate = grown or Approximate.build(made.vectors, whole_up_to=whole_up_to)
            made.approximate.save(written.folder)
        made._save_name(written.folder)
        return made

    def _grow_out_of(self, folder: Path) -> Approximate | None:
        before, approximate, made = Vectors.open(folder), Approximate.open(folder), self.vectors
        if approximate is None or (before.width, before.vectors_NE.dtype) != (made.width, made.vectors_NE.dtype):
            return None
        return approximate.take_in(made, before.find_rows_in(made))

    def _save_name(self, folder: Path) -> None:
        facts = {"embedder": self.embedder, "exact_up_to": self.exact_up_to}
        (folder / NAME_FILE).write_text(json.dumps(facts), encoding="utf-8")

    def _find_range(self, language: str | None) -> tuple[int, int]:
        if language is None:
            return 0, len(self)
        if not self.has_language(language):
            raise ValueError(
                f"no item in language {language!r}; the index holds {', '.join(self.languages)}. Add items, or search "
                "in every language (same_language=False)"
            )
        ranges = self.vectors.ranges
        return ranges[language if language in ranges else read_primary_code(language)]

    def _search(
        self, queries_QE: np.ndarray, first: int, end: int, *, k: int, left_out: Sequence[Collection[str]]
    ) -> list[Hits]:
        """Search rows first..end; fetch more rows until no unfetched item can tie with the k-th."""
        found = [Hits((), ())] * len(queries_QE)
        num = min(end - first, k + min(SECOND_LOOK, max(map(len, left_out), default=0)) + SPARE)
        open_Q = np.arange(len(queries_QE))
        while len(open_Q):
            candidates = self._find_candidates(queries_QE[open_Q], first, end, num=num)
            hits, is_settled_Q = self._rank(
                queries_QE[open_Q], candidates, k=k, left_out=[left_out[q] for q in open_Q.tolist()]
            )
            for query, hit in zip(open_Q, hits, strict=True):
                found[query] = hit
            open_Q = open_Q[~is_settled_Q]
            num = min(end - first, max(num * 4, SECOND_LOOK))
        return found

    def _find_candidates(self, queries_QE: np.ndarray, first: int, end: int, *, num: int) -> "_Candidates":
        """Find candidate rows. In a small range every row is compared."""
        if self.approximate is None or end - first <= max(self.exact_up_to, 2 * num):
            found = self.vectors.compare_all(queries_QE, first, end, num=num)
            return _Candidates(*found, is_exact=True, is_all=num == end - first)
        num = max(num, self.approximate.facts.candidates)
        found = self.approximate.find_candidates(queries_QE, first, end, num=num)
        return _Candidates(*found, is_exact=self.approximate.is_exact)

    def _rank(
        self, queries_QE: np.ndarray, candidates: "_Candidates", *, k: int, left_out: Sequence[Collection[str]]
    ) -> tuple[list[Hits], np.ndarray]:
        """Rank each query's candidates by their cosines, then by their ids.

        Also tell of each query whether no other row can be among its k best: bool (Q,).
        """
        is_restricted = any(left_out)
        rows_QF = candidates.rows_QF if is_restricted else candidates.choose_best(k)
        scores_QF, ids_QF = self.vectors.score_rows(rows_QF, queries_QE), np.asarray(self.vectors.item_ids_N)[rows_QF]
        worst_Q = candidates.find_worst(scores_QF)
        if is_restricted:
            encoded = {id(ids): encode_ids(list(ids)) for ids in left_out}  # often the same ones for all queries
            for query, ids in enumerate(left_out):
                scores_QF[query, np.isin(ids_QF[query], encoded[id(ids)])] = -np.inf
        order_QK = np.lexsort((ids_QF, -scores_QF), axis=1)[:, :k]
        queries_Q1 = np.arange(len(rows_QF))[:, None]
        scores_QK, ids_QK = scores_QF[queries_Q1, order_QK], ids_QF[queries_Q1, order_QK]
        count_Q = (scores_QK > -np.inf).sum(axis=1)
        hits = [
            Hits(tuple(map(bytes.decode, ids[:count])), tuple(scores[:count]))
            for ids, scores, count in zip(ids_QK.tolist(), scores_QK.tolist(), count_Q.tolist(), strict=True)
        ]
        return hits, candidates.is_all | ((count_Q == k) & (scores_QK[:, -1] > worst_Q + MARGIN))


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Rows that may be among the nearest of each query, best first, with their scores in float32; -1 where there are
    no more. `is_exact` tells whether the scores are inner products, `is_all` whether there are no other rows."""

    rows_QF: np.ndarray
    scores_QF: np.ndarray
    is_exact: bool
    is_all: bool = False

    def choose_best(self, k: int) -> np.ndarray:
        """Return the rows that may be among the k best, where the scores tell: (Q, F')."""
        if not self.is_exact or self.rows_QF.shape[1] <= k:
            return self.rows_QF
        least_Q1 = self.scores_QF[:, k - 1 : k] - MARGIN
        return self.rows_QF[:, : int((self.scores_QF >= least_Q1).sum(axis=1).max())]

    def find_worst(self, cosines_QF: np.ndarray) -> np.ndarray:
        """Return the lowest score of a candidate, or of what is scored, for each query: (Q,)."""
        if self.is_exact:
            return self.scores_QF[:, -1]
        return np.where(np.isneginf(cosines_QF), np.inf, cosines_QF).min(axis=1)
