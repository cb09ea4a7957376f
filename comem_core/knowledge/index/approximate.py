"""Finds candidates among many vectors without comparing all: they lie in lists (IVF), of which a search reads few.

A list holds the vectors as they are stored or, of more of them, codes (IVF-PQ). It returns candidates only: the caller
scores them again from the stored vectors. A search's effort is chosen when the index is built, by its recall against
exact search. Works with rows; independent of ids and languages.

Shapes: N items, Q queries, E width of an embedding, F candidates.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from comem_core.knowledge.index.vectors import BLOCK_ROWS, Vectors

INDEX_FILE, FACTS_FILE = "approximate.faiss", "approximate.json"
WHOLE_UP_TO = 300_000
"""Up to this many, lists hold whole vectors. Of a million, codes are read faster, and are a sixteenth as large."""
FEWEST_CANDIDATES, MOST_CANDIDATES = 64, 1024  # of codes; whole vectors need no more than are asked for
LEAST_EFFORT = {"ivf": 1, "ivf_pq": 16}
K = 10
TARGET_RECALL = {"ivf": 0.99, "ivf_pq": 0.98}
NUM_PROBES, NOISE = 256, 0.5
CHANCE = 0.01
"""By which two recalls of so many queries may differ: three standard errors of a difference at a recall of 0.99, where
queries miss one of ten or none (standard deviation 0.035)."""
CODED_WIDTH = 8  # numbers that one byte of a code stands for
POINTS_PER_LIST, POINTS_PER_CODE = 128, 64  # of which the lists' centres and the codes are made (docs/log.md)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The kind and quality of an approximate index: `recall_at_10` against exact search, at this effort.

    `effort` is nprobe, the number of lists read; of a graph (`hnsw`), which earlier versions built, it is efSearch. At
    least the best `candidates` that a search finds are scored again. The lists were made for `trained_on` vectors, of
    which a search had the recall `trained_recall` (0: not recorded).
    """

    kind: Literal["hnsw", "ivf", "ivf_pq"]
    width: int
    effort: int
    candidates: int
    recall_at_10: float = 0.0
    trained_on: int = 0
    trained_recall: float = 0.0

    @property
    def least_recall(self) -> float:
        """The recall below which these lists no longer suit, beyond what two samples of queries differ by."""
        return min(TARGET_RECALL[self.kind], self.trained_recall or self.recall_at_10) - CHANCE


class Approximate:
    """A FAISS index whose row numbers are those of `Vectors`."""

    def __init__(self, index: Any, facts: Facts) -> None:
        self._index, self.facts = index, facts

    @classmethod
    def build(cls, vectors: Vectors, *, whole_up_to: int = WHOLE_UP_TO, seed: int = 0) -> "Approximate":
        """Build the kind of index that suits the number of vectors, and choose its effort.

        Effort or candidates are doubled, whichever helps more, until recall@10 of perturbed items reaches the target
        (0.99 of whole vectors, 0.98 of codes), or neither helps. The recall in `facts` is measured on other perturbed
        items.
        """
        width = -(-vectors.width // CODED_WIDTH) * CODED_WIDTH
        kind = "ivf" if len(vectors) <= whole_up_to else "ivf_pq"
        index = _make_lists(kind, width, len(vectors), vectors.vectors_NE.dtype)
        index.train(_padded(_sample(vectors, index.nlist * POINTS_PER_LIST, seed=seed), width))
        for _, block_BE in vectors.read_blocks():
            index.add(_padded(block_BE, width))
        candidates = FEWEST_CANDIDATES if kind == "ivf_pq" else K
        made = cls(index, Facts(kind=kind, width=width, effort=LEAST_EFFORT[kind], candidates=candidates))
        chosen = made._choose_effort(vectors, seed=seed)
        made.facts = replace(chosen, trained_on=len(vectors), trained_recall=chosen.recall_at_10)
        logger.info("%d items: %s", len(vectors), made.facts)
        return made

    def take_in(self, vectors: Vectors, row_of: np.ndarray, *, seed: int = 0) -> "Approximate | None":
        """Return an index of `vectors` with the lists of this one, so that only new vectors are put into them. This one
        is used up.

        `row_of` (int64) has the new row of each of this index's rows, or -1 where its vector is gone. None if the lists
        no longer suit: there are over twice or under half as many vectors as they were made for, this is a graph, or
        the recall falls below the target and below what it was when they were made. A search looks at least as far as
        in this index.
        """
        facts = self.facts
        if facts.kind == "hnsw" or not facts.trained_on / 2 <= len(vectors) <= facts.trained_on * 2:
            return None
        index = self._renumber(row_of)
        is_new_N = np.ones(len(vectors), dtype=bool)
        is_new_N[row_of[row_of >= 0]] = False
        for start in range(0, len(new_rows := np.flatnonzero(is_new_N)), BLOCK_ROWS):
            rows_B = new_rows[start : start + BLOCK_ROWS]
            index.add_with_ids(_padded(vectors.vectors_NE[rows_B], facts.width), rows_B)
        made = Approximate(index, facts)
        made.facts = made._choose_effort(vectors, seed=seed)
        logger.info("%d items, of which %d are new: %s", len(vectors), len(new_rows), made.facts)
        return made if made.facts.recall_at_10 >= facts.least_recall else None

    def _renumber(self, row_of: np.ndarray) -> Any:
        """Return this index with the entries that stay, in memory and under their new rows."""
        index, found = self._index, self._index.invlists  # lists on disk cannot be cloned
        lists: Any = faiss.ArrayInvertedLists(index.nlist, index.code_size)
        for number in range(index.nlist):
            size = found.list_size(number)
            if not size:
                continue
            rows_S = row_of[faiss.rev_swig_ptr(found.get_ids(number), size)]
            codes_SC = faiss.rev_swig_ptr(found.get_codes(number), size * index.code_size).reshape(size, -1)
            stay_S = rows_S >= 0
            rows, codes = np.ascontiguousarray(rows_S[stay_S]), np.ascontiguousarray(codes_SC[stay_S])
            lists.add_entries(number, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(codes))
        index.replace_invlists(lists, True)
        lists.this.disown()  # the index frees them
        index.ntotal = int((row_of >= 0).sum())
        return index

    @property
    def is_exact(self) -> bool:
        """Whether the scores of candidates are their inner products to rounding; of codes they are estimates."""
        return self.facts.kind == "ivf"

    def find_candidates(
        self, queries_QE: np.ndarray, first: int, end: int, *, num: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of first..end that are likely among the nearest, best first, and their scores: (Q, num).

        Where there are fewer, rows are -1 and scores lower than any other.
        """
        whole = first == 0 and end == self._index.ntotal
        # A search of a part of the rows looks at as many of them as a search of all rows does.
        effort = int(np.ceil(self.facts.effort * self._index.ntotal / (end - first)))
        options = {} if whole else {"sel": faiss.IDSelectorRange(first, end)}
        if self.facts.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=max(effort, num), **options)  # pyright: ignore
        else:
            nprobe = min(effort, self._index.nlist)
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, **options)  # pyright: ignore[reportCallIssue]
        scores_QF, rows_QF = self._index.search(_padded(queries_QE, self.facts.width), num, params=parameters)
        return rows_QF, scores_QF

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
        if facts.kind == "hnsw":
            return cls(faiss.read_index(str(folder / INDEX_FILE), faiss.IO_FLAG_MMAP_IFC), facts)
        index: Any = faiss.read_index(str(folder / INDEX_FILE), faiss.IO_FLAG_MMAP)
        # It would start threads for each search that read lists ahead: several times the time of a single query.
        lists: Any = faiss.downcast_InvertedLists(index.invlists)
        lists.prefetch_nthread = 0
        return cls(index, facts)

    def _choose_effort(self, vectors: Vectors, *, seed: int) -> Facts:
        """Return the facts with the least effort, from theirs on, that reaches the target, and its recall."""
        queries_QE = perturb_vectors(_sample(vectors, 2 * NUM_PROBES, seed=seed + 1), seed=seed + 2)
        nearest_QK, _ = vectors.compare_all(queries_QE, 0, len(vectors), num=K)
        half = len(queries_QE) // 2

        def recall(facts: Facts, part: slice) -> float:
            num = min(facts.candidates, len(vectors))
            rows_QF, _ = Approximate(self._index, facts).find_candidates(queries_QE[part], 0, len(vectors), num=num)
            return measure_recall(vectors, queries_QE[part], rows_QF, nearest_QK[part])

        best, facts = recall(self.facts, slice(half)), self.facts
        while best < TARGET_RECALL[facts.kind] and (harder := self._list_harder(facts)):
            found, number = max((recall(each, slice(half)), number) for number, each in enumerate(harder))
            if found <= best:
                break
            best, facts = found, harder[number]
        return replace(facts, recall_at_10=recall(facts, slice(half, None)))

    def _list_harder(self, facts: Facts) -> list[Facts]:
        more_effort = [replace(facts, effort=facts.effort * 2)] if facts.effort < self._index.nlist else []
        more = facts.kind == "ivf_pq" and facts.candidates < MOST_CANDIDATES
        return more_effort + ([replace(facts, candidates=facts.candidates * 2)] if more else [])


def measure_recall(vectors: Vectors, queries_QE: np.ndarray, rows_QF: np.ndarray, nearest_QK: np.ndarray) -> float:
    """Return the share of the K nearest rows among the candidates. A candidate that ties with the K-th counts."""
    found_QF = vectors.score_rows(rows_QF, queries_QE)
    worst_Q1 = vectors.score_rows(nearest_QK, queries_QE).min(axis=1, keepdims=True)
    return float(np.minimum(1, (found_QF >= worst_Q1).sum(axis=1) / nearest_QK.shape[1]).mean())


def perturb_vectors(vectors_QE: np.ndarray, *, seed: int) -> np.ndarray:
    """Add noise of half their length to normalised vectors, and normalise again: cosines with before are about 0.9."""
    noise_QE = np.random.default_rng(seed).standard_normal(vectors_QE.shape, dtype=np.float32)
    moved_QE = vectors_QE + NOISE / np.sqrt(vectors_QE.shape[1]) * noise_QE
    return (moved_QE / np.linalg.norm(moved_QE, axis=1, keepdims=True)).astype(np.float32)


def count_lists(num_items: int) -> int:
    """Return the number of lists for so many items: the power of two that is nearest to twice their square root."""
    return 1 << int(np.round(np.log2(2 * np.sqrt(num_items))))


def _make_lists(kind: str, width: int, num_items: int, dtype: np.dtype) -> Any:
    entry = f"PQ{width // CODED_WIDTH}" if kind == "ivf_pq" else "SQfp16" if dtype == np.float16 else "Flat"
    index: Any = faiss.index_factory(width, f"IVF{count_lists(num_items)},{entry}", faiss.METRIC_INNER_PRODUCT)
    limits = [(index.cp, POINTS_PER_LIST)]
    if kind == "ivf_pq":
        index.do_polysemous_training = False  # of use in another kind of search, and takes many times as long as all
        limits += [(index.pq.cp, POINTS_PER_CODE)]
    else:
        index.by_residual = False  # a list holds the vectors themselves
    for training, points in limits:
        training.niter, training.min_points_per_centroid, training.max_points_per_centroid = 10, 1, points
    return index


def _sample(vectors: Vectors, num: int, *, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).choice(len(vectors), size=min(num, len(vectors)), replace=False)
    return np.ascontiguousarray(vectors.vectors_NE[np.sort(rows)], dtype=np.float32)


def _padded(vectors_BE: np.ndarray, width: int) -> np.ndarray:
    """Append zeros up to `width`, a multiple of `CODED_WIDTH`; inner products do not change."""
    if vectors_BE.shape[1] == width:
        return np.ascontiguousarray(vectors_BE, dtype=np.float32)
    return np.ascontiguousarray(np.pad(vectors_BE, ((0, 0), (0, width - vectors_BE.shape[1]))), dtype=np.float32)
