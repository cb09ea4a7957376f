"""BM25 over millions of short titles: finds the title that a query ranks first. It reads token ids.

Equal to `BM25Okapi` of rank_bm25 0.2.2 (k1 1.5, b 0.75, epsilon 0.25) to the last bit: the same arithmetic in the same
order, but only on titles that share a token with the query. Among titles with equal scores the official code takes the
one that numpy's `argsort` puts last. That sort is not stable, so for equal scores the whole array is sorted here too,
and the choice depends on numpy's release and on the processor, as it does officially.

Shapes: N titles, V tokens of the vocabulary, P (title, token) pairs.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array

K1, B, EPSILON = 1.5, 0.75, 0.25
LAYOUT = "1"
"""The version of the files' layout; it is part of an index's name."""

_ARRAYS = ("starts_V", "titles_P", "counts_P", "lengths_N", "weights_V", "ids_N")


@dataclass(kw_only=True)
class TitleIndex:
    """The titles by token. Token v occurs in `titles_P[starts_V[v]:starts_V[v + 1]]`, `counts_P` times in each.

    `weights_V` is the idf of each token, zero for a token in no title; `ids_N` are the ids that titles stand for.
    """

    starts_V: np.ndarray
    titles_P: np.ndarray
    counts_P: np.ndarray
    lengths_N: np.ndarray
    weights_V: np.ndarray
    ids_N: np.ndarray
    mean_length: float

    def find_first(self, query: Sequence[int]) -> str:
        """Return the id of the title with the highest score for a query's tokens.

        Takes milliseconds; where scores are equal, the time to sort one number per title. Where no title holds any of
        the tokens, or the query has none, it is always the same arbitrary title.
        """
        return self.ids_N[self._first_place(query)].decode()

    def _first_place(self, query: Sequence[int]) -> int:
        terms = [self._term(token) for token in query]
        if not any(len(titles) for titles, _ in terms):
            return self._place_of_nothing
        places = np.concatenate([titles for titles, _ in terms])
        scores_N = self._scores_N
        for titles, scores in terms:
            scores_N[titles] += scores
        found = scores_N[places]
        firsts = np.unique(places[found == found.max()])
        is_sure = len(firsts) == 1 and found.max() > 0  # all other titles score zero
        place = int(firsts[0] if is_sure else np.argsort(scores_N)[-1])
        scores_N[places] = 0.0
        return place

    def _term(self, token: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the titles that hold a token, and what it adds to their scores."""
        if not 0 <= token < len(self.weights_V):
            return self.titles_P[:0], np.zeros(0)
        part = slice(self.starts_V[token], self.starts_V[token + 1])
        titles, counts = self.titles_P[part], self.counts_P[part]
        norms = self._norm_of_length[self.lengths_N[titles]]
        return titles, self.weights_V[token] * (counts * (K1 + 1) / (counts + norms))

    @cached_property
    def _scores_N(self) -> np.ndarray:
        """Zeros. A query adds up its scores here and then resets them to zero."""
        return np.zeros(len(self.lengths_N))

    @cached_property
    def _place_of_nothing(self) -> int:
        """The title that comes first where all scores are zero."""
        return int(np.argsort(self._scores_N)[-1])

    @cached_property
    def _norm_of_length(self) -> np.ndarray:
        lengths = np.arange(int(self.lengths_N.max()) + 1)
        return K1 * (1 - B + B * lengths / self.mean_length)

    def save(self, folder: Path) -> None:
        """Write the index as arrays that can be memory-mapped."""
        folder.mkdir(parents=True)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        (folder / "index.json").write_text(json.dumps({"mean_length": self.mean_length}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "TitleIndex":
        """Open an index that `save` wrote; its arrays are memory-mapped."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        return cls(**arrays, **json.loads((folder / "index.json").read_text(encoding="utf-8")))


def build_index(titles: Iterable[tuple[Sequence[str], Sequence[Sequence[int]]]], *, num_tokens: int) -> TitleIndex:
    """Build an index of titles that come in chunks of (ids, tokens of each title).

    Raises ValueError where no title has a token.
    """
    ids, lengths, tokens = [], [], []
    for chunk_ids, chunk_tokens in titles:
        ids.append(np.array([each.encode() for each in chunk_ids]))
        lengths.append(np.array([len(each) for each in chunk_tokens], np.int32))
        tokens.append(np.array([token for each in chunk_tokens for token in each], np.int32))
    if not sum(map(len, tokens)):
        raise ValueError("no title holds a token, so nothing can be found; give a file whose titles are not empty")
    lengths_N, all_tokens = np.concatenate(lengths), np.concatenate(tokens)
    places = np.repeat(np.arange(len(lengths_N), dtype=np.int32), lengths_N)
    ones = np.ones(len(places), np.uint16)
    pairs = coo_array((ones, (places, all_tokens)), shape=(len(lengths_N), num_tokens)).tocsc()
    order = all_tokens[np.sort(np.unique(all_tokens, return_index=True)[1])]
    return TitleIndex(
        starts_V=pairs.indptr,
        titles_P=pairs.indices,
        counts_P=pairs.data,
        lengths_N=lengths_N,
        weights_V=_weights(np.diff(pairs.indptr), order, num_titles=len(lengths_N)),
        ids_N=np.concatenate(ids),
        mean_length=len(all_tokens) / len(lengths_N),
    )


def _weights(num_titles_V: np.ndarray, order: np.ndarray, *, num_titles: int) -> np.ndarray:
    """Return the idf of every token; a token in more than half of the titles gets EPSILON times the mean instead.

    The sum for the mean runs in the order in which tokens first occur, because float sums depend on the order.
    """
    weights_V, total = np.zeros(len(num_titles_V)), 0.0
    for token in order.tolist():
        num = int(num_titles_V[token])
        weights_V[token] = math.log(num_titles - num + 0.5) - math.log(num + 0.5)
        total += float(weights_V[token])
    weights_V[weights_V < 0] = EPSILON * (total / len(order))
    return weights_V
