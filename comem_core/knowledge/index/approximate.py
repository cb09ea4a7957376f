"""Finds candidates among many vectors without comparing all: a graph (HNSW) for many, coded lists (IVF-PQ) for more.

It returns candidates only: the caller scores them again from the stored vectors. A search's effort is chosen when the
index is built, by its recall against exact search. Works with rows; independent of ids and languages.

Shapes: N items, Q queries, E width of an embedding, F candidates.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from comem_core.knowledge.index.vectors import Vectors

INDEX_FILE, FACTS_FILE = "approximate.faiss", "approximate.json"
GRAPH_UP_TO = 200_000
"""Above this, a graph of 512-dimensional vectors takes over a minute to build on one core, and 0.65 GB per million."""
FEWEST_CANDIDATES, MOST_CANDIDATES, LEAST_EFFORT = 128, 1024, 16
K, TARGET_RECALL = 10, 0.98
NUM_PROBES, NOISE = 256, 0.5
GRAPH_LINKS, GRAPH_EFFORT = 16, 40
BYTES: Any = faiss.ScalarQuantizer.QT_8bit
CODED_WIDTH = 8  # numbers that one byte of a code stands for
POINTS_PER_LIST, POINTS_PER_CODE = 48, 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The kind and quality of an approximate index: `recall_at_10` against exact search, at this effort.

    `effort` is efSearch (HNSW) or nprobe, the number of lists read (IVF-PQ). The best `candidates` that a search finds
    are scored again.
    """

    kind: Literal["hnsw", "ivf_pq"]
    width: int
    effort: int = LEAST_EFFORT
    candidates: int = FEWEST_CANDIDATES
    recall_at_10: float = 0.0


class Approximate:
    """A FAISS index whose row numbers are those of `Vectors`."""

    def __init__(self, index: Any, facts: Facts) -> None:
        self._index, self.facts = index, facts

    @classmethod
    def build(cls, vectors: Vectors, *, graph_up_to: int = GRAPH_UP_TO, seed: int = 0) -> "Approximate":
        """Build the kind of index that suits the number of items, and choose its effort.

        Effort or candidates are doubled, whichever helps more, until recall@10 of perturbed items reaches 0.98 or
        neither helps. The recall in `facts` is measured on other perturbed items.
        """
        width = -(-vectors.width // CODED_WIDTH) * CODED_WIDTH
        kind = "hnsw" if len(vectors) <= graph_up_to else "ivf_pq"
        index = _empty_graph(width) if kind == "hnsw" else _empty_lists(width, len(vectors))
        index.train(_padded(_sample(vectors, _num_training_points(index), seed=seed), width))
        with _limit_threads(1 if kind == "hnsw" else None):  # a graph's links depend on the order of insertion
            for _, block_BE in vectors.read_blocks():
                index.add(_padded(block_BE, width))
        made = cls(index, Facts(kind=kind, width=width))
        made.facts = made._choose_effort(vectors, seed=seed)
        logger.info("%d items: %s", len(vectors), made.facts)
        return made

    def find_candidates(self, queries_QE: np.ndarray, first: int, end: int, *, num: int) -> np.ndarray:
        """Return rows of first..end that are likely among the nearest, padded with -1 if there are fewer: (Q, num)."""
        whole = first == 0 and end == self._index.ntotal
        # A search of a part of the rows looks at as many of them as a search of all rows does.
        effort = int(np.ceil(self.facts.effort * self._index.ntotal / (end - first)))
        options = {} if whole else {"sel": faiss.IDSelectorRange(first, end)}
        if self.facts.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, num), **options)  # pyright: ignore
        else:
            nprobe = min(effort, self._index.nlist)
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, **options)  # pyright: ignore[reportCallIssue]
        _, rows_QF = self._index.search(_padded(queries_QE, self.facts.width), num, params=parameters)
        return rows_QF

    def save(self, folder: Path) -> None:
        """Write the index into an existing folder."""
        faiss.write_index(self._index, str(folder / INDEX_FILE))
        (folder / FACTS_FILE).write_text(json.dumps(asdict(self.facts)), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> "Approximate | None":
        """Memory-map what `save` wrote; return None if this index has no approximate part."""
        if not (folder / FACTS_FILE).is_file():
            return None
        facts = Facts(**json.loads((folder / FACTS_FILE).read_text(encoding="utf-8")))
        flags = faiss.IO_FLAG_MMAP_IFC if facts.kind == "hnsw" else faiss.IO_FLAG_MMAP
        return cls(faiss.read_index(str(folder / INDEX_FILE), flags), facts)

    def _choose_effort(self, vectors: Vectors, *, seed: int) -> Facts:
        queries_QE = perturb_vectors(_sample(vectors, 2 * NUM_PROBES, seed=seed + 1), seed=seed + 2)
        nearest_QK = vectors.compare_all(queries_QE, 0, len(vectors), num=K)
        half = len(queries_QE) // 2

        def recall(facts: Facts, part: slice) -> float:
            num = min(facts.candidates, len(vectors))
            rows_QF = Approximate(self._index, facts).find_candidates(queries_QE[part], 0, len(vectors), num=num)
            return measure_recall(vectors, queries_QE[part], rows_QF, nearest_QK[part])

        best, facts = recall(self.facts, slice(half)), self.facts
        while best < TARGET_RECALL and (harder := self._list_harder(facts)):
            found, number = max((recall(each, slice(half)), number) for number, each in enumerate(harder))
            if found <= best:
                break
            best, facts = found, harder[number]
        return replace(facts, recall_at_10=recall(facts, slice(half, None)))

    def _list_harder(self, facts: Facts) -> list[Facts]:
        limit = self._index.nlist if facts.kind == "ivf_pq" else self._index.ntotal
        more_effort = [replace(facts, effort=facts.effort * 2)] if facts.effort < limit else []
        more = facts.candidates < MOST_CANDIDATES
        return more_effort + ([replace(facts, candidates=facts.candidates * 2)] if more else [])


def measure_recall(vectors: Vectors, queries_QE: np.ndarray, rows_QF: np.ndarray, nearest_QK: np.ndarray) -> float:
    """Return the share of the K nearest rows among the candidates. A candidate that ties with the K-th counts."""
    shares = []
    for query_E, rows_F, nearest_K in zip(queries_QE, rows_QF, nearest_QK, strict=True):
        found = vectors.score_rows(rows_F[rows_F >= 0], query_E)
        worst = vectors.score_rows(nearest_K, query_E).min()
        shares.append(min(1.0, (found >= worst).sum() / len(nearest_K)))
    return float(np.mean(shares))


def perturb_vectors(vectors_QE: np.ndarray, *, seed: int) -> np.ndarray:
    """Add noise of half their length to normalised vectors, and normalise again: cosines with before are about 0.9."""
    noise_QE = np.random.default_rng(seed).standard_normal(vectors_QE.shape, dtype=np.float32)
    moved_QE = vectors_QE + NOISE / np.sqrt(vectors_QE.shape[1]) * noise_QE
    return (moved_QE / np.linalg.norm(moved_QE, axis=1, keepdims=True)).astype(np.float32)


@contextlib.contextmanager
def _limit_threads(num: int | None) -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(num or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _empty_graph(width: int) -> faiss.IndexHNSWSQ:
    # Vectors are stored as bytes: candidates are scored again anyway, and float32 is four times as large.
    index = faiss.IndexHNSWSQ(width, BYTES, GRAPH_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = GRAPH_EFFORT
    return index


def _empty_lists(width: int, num_items: int) -> faiss.IndexIVFPQ:
    num_lists = 1 << int(np.round(np.log2(2 * np.sqrt(num_items))))
    index = faiss.IndexIVFPQ(
        faiss.IndexFlatIP(width), width, num_lists, width // CODED_WIDTH, 8, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.niter = 10
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = POINTS_PER_LIST, 1
    index.pq.cp.niter = 10
    index.pq.cp.max_points_per_centroid, index.pq.cp.min_points_per_centroid = POINTS_PER_CODE, 1
    return index


def _num_training_points(index: faiss.Index) -> int:
    return index.nlist * POINTS_PER_LIST if isinstance(index, faiss.IndexIVFPQ) else 1 << 14


def _sample(vectors: Vectors, num: int, *, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).choice(len(vectors), size=min(num, len(vectors)), replace=False)
    return np.ascontiguousarray(vectors.vectors_NE[np.sort(rows)], dtype=np.float32)


def _padded(vectors_BE: np.ndarray, width: int) -> np.ndarray:
    """Append zeros up to `width`, a multiple of `CODED_WIDTH`; inner products do not change."""
    return np.ascontiguousarray(np.pad(vectors_BE, ((0, 0), (0, width - vectors_BE.shape[1]))), dtype=np.float32)
