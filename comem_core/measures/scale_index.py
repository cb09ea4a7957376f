"""Measures a large vector index: recall, speed beside exhaustive search and FAISS itself, time to build, and bytes.

The vectors are synthetic: about fifty per cluster, with cosines of 0.8 to the cluster's random centre and 0.64 to each
other. Queries are further draws from the same clusters, which the index does not hold.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from comem_core.knowledge.index.approximate import K, count_lists, measure_recall
from comem_core.knowledge.index.vector_index import EXACT_UP_TO, VectorIndex
from comem_core.knowledge.index.vectors import VectorWriter
from comem_core.measures.reading import measure_median_seconds

PER_CLUSTER, NOISE = 50, 0.75
NUM_ALONE, REPEATS = 200, 5
BATCH_ROWS = 50_000


def measure_index(num_vectors: int, width: int, num_queries: int, seed: int) -> dict[str, float]:
    """Build an index of synthetic vectors in a temporary folder, search it, and compare it with exhaustive search.

    Both searches get the same queries in one batch. Exhaustive search is FAISS's, on float32 in memory, with the same
    number of threads. The time to make the vectors is not counted.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writing, building = _build(folder, num_vectors, width, seed=seed)
        index = VectorIndex.load(folder)
        queries_QE = _draw_queries(num_vectors, width, num_queries, seed=seed)
        nearest_QK, exact_seconds = _compare_all(index, queries_QE)
        seconds, rows_QF = _search(index, queries_QE)
        assert index.approximate is not None or num_vectors <= EXACT_UP_TO
        return {
            "index_recall_at_10": measure_recall(index.vectors, queries_QE, rows_QF, nearest_QK),
            "index_speedup_vs_exact": exact_seconds / seconds,
            "index_queries_per_s": num_queries / seconds,
            "exact_queries_per_s": num_queries / exact_seconds,
            "index_write_seconds": writing,
            "index_build_seconds": building,
            "index_bytes": float(sum(path.stat().st_size for path in folder.iterdir())),
        }


def measure_beside_faiss(num_vectors: int, width: int, num_queries: int, seed: int) -> dict[str, float]:
    """Compare searches of an index with those of FAISS called directly, all at once and one query at a time, by turns.

    FAISS has the same number of lists, of float32 or float16, in memory, and reads as many of them as it needs for the
    recall of the index. The faster of the two counts.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _build(folder, num_vectors, width, seed=seed)
        index = VectorIndex.load(folder)
        queries_QE = _draw_queries(num_vectors, width, num_queries, seed=seed)
        nearest_QK, _ = index.vectors.compare_all(queries_QE, 0, len(index), num=K)
        _, rows_QF = _search(index, queries_QE)
        recall = measure_recall(index.vectors, queries_QE, rows_QF, nearest_QK)
        direct = [_build_direct(index, entry, recall, queries_QE, nearest_QK) for entry in ("Flat", "SQfp16")]

        def ask_alone(search: Callable[[np.ndarray], object]) -> None:
            for row in range(NUM_ALONE):
                search(queries_QE[row : row + 1])

        ways = [lambda queries: index.search(queries, k=K)]
        ways += [lambda queries, each=each: each.search(queries, K) for each in direct]
        together = measure_median_seconds(*(partial(way, queries_QE) for way in ways), repeats=REPEATS)
        alone = measure_median_seconds(*(partial(ask_alone, way) for way in ways), repeats=REPEATS)
    return {
        "index_vs_faiss": min(together[1:]) / together[0],
        "index_vs_faiss_alone": min(alone[1:]) / alone[0],
        "index_vs_faiss_recall": recall,
        "index_together_queries_per_s": num_queries / together[0],
        "index_alone_queries_per_s": NUM_ALONE / alone[0],
    }


def _build_direct(
    index: VectorIndex, entry: str, recall: float, queries_QE: np.ndarray, nearest_QK: np.ndarray
) -> faiss.Index:
    """Build FAISS's own index of the same vectors, which reads twice as many lists until it has this recall."""
    vectors_NE = np.ascontiguousarray(index.vectors.vectors_NE, dtype=np.float32)
    number = count_lists(len(vectors_NE))
    made: Any = faiss.index_factory(vectors_NE.shape[1], f"IVF{number},{entry}", faiss.METRIC_INNER_PRODUCT)
    made.train(vectors_NE)
    made.add(vectors_NE)
    while True:
        rows_QK = made.search(queries_QE, K)[1]
        if made.nprobe >= number or measure_recall(index.vectors, queries_QE, rows_QK, nearest_QK) >= recall:
            return made
        made.nprobe *= 2


def _build(folder: Path, num_vectors: int, width: int, *, seed: int) -> tuple[float, float]:
    """Write the vectors, then build the index; returns the seconds of each."""
    item_ids = [f"{number:08x}" for number in range(num_vectors)]
    writing, started = 0.0, time.perf_counter()
    dtype = "float16" if num_vectors > EXACT_UP_TO else "float32"
    writer = VectorWriter(folder, item_ids=item_ids, languages=["en"] * num_vectors, width=width, dtype=dtype)
    writing += time.perf_counter() - started
    start = 0
    for vectors_BE in _draw_vectors(num_vectors, num_vectors, width, seed=seed):
        started = time.perf_counter()
        writer.put(np.arange(start, start + len(vectors_BE)), vectors_BE)
        writing += time.perf_counter() - started
        start += len(vectors_BE)
    started = time.perf_counter()
    VectorIndex.finish(writer)
    return writing, time.perf_counter() - started


def _draw_vectors(num: int, num_vectors: int, width: int, *, seed: int, stream: int = 0) -> Iterator[np.ndarray]:
    """Yield `num` vectors in batches, from the clusters of an index of `num_vectors`."""
    num_clusters = max(1, num_vectors // PER_CLUSTER)
    centres_CE = np.random.default_rng([seed, 0]).standard_normal((num_clusters, width), dtype=np.float32)
    centres_CE /= np.linalg.norm(centres_CE, axis=1, keepdims=True)
    random = np.random.default_rng([seed, 1, stream])
    for start in range(0, num, BATCH_ROWS):
        size = min(BATCH_ROWS, num - start)
        noise_BE = random.standard_normal((size, width), dtype=np.float32) * np.float32(NOISE / np.sqrt(width))
        yield centres_CE[random.integers(num_clusters, size=size)] + noise_BE


def _draw_queries(num_vectors: int, width: int, num_queries: int, *, seed: int) -> np.ndarray:
    vectors_QE = np.concatenate(list(_draw_vectors(num_queries, num_vectors, width, seed=seed, stream=1)))
    return vectors_QE / np.linalg.norm(vectors_QE, axis=1, keepdims=True)


def _compare_all(index: VectorIndex, queries_QE: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the K nearest rows, and the seconds of the comparison without reading the vectors from disk."""
    seconds = 0.0
    for _, block_BE in index.vectors.read_blocks():
        started = time.perf_counter()
        faiss.knn(queries_QE, block_BE, K, metric=faiss.METRIC_INNER_PRODUCT)
        seconds += time.perf_counter() - started
    return index.vectors.compare_all(queries_QE, 0, len(index), num=K)[0], seconds


def _search(index: VectorIndex, queries_QE: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the seconds of a whole search, including ranking, and the rows that it found (-1 where fewer than K)."""
    index.search(queries_QE[:1], k=K)  # memory-maps the files
    started = time.perf_counter()
    hits = index.search(queries_QE, k=K)
    seconds = time.perf_counter() - started
    rows_QK = np.full((len(hits), K), -1, dtype=np.int64)
    for row, hit in enumerate(hits):
        rows_QK[row, : len(hit.item_ids)] = index.vectors.find_rows(hit.item_ids)
    return seconds, rows_QK
