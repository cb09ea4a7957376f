"""The gate: decides, question by question, whether an answer comes from memory or from the reader alone.

Memory is not trusted where the best retrieved item is too far from the question, and is not needed where the reader is
sure by itself. Both limits are learnt on questions that are not scored and were answered both ways. Answers are chosen,
never generated anew. docs/evaluation.md compares the gate with others.

Shapes: N held-out questions.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOTHING_FOUND = float("-inf")
NUM_FOLDS = 5
"""Into how many folds the questions of a benchmark are cut that has no part to tune on."""

Numbers = Sequence[float] | np.ndarray


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Trusts memory where the best retrieval score is above `threshold`, in the unit of the search's scores, unless the
    reader's own answer has a mean log-probability a token above `sure`; None leaves the latter out."""

    threshold: float
    sure: float | None = None

    def can_trust(self, scores: Sequence[float]) -> bool:
        """Tell whether items with these retrieval scores are near enough; without items there is nothing to trust."""
        return find_best_score(scores) > self.threshold

    def is_unsure(self, logprob: float | None) -> bool:
        """Tell whether the reader is not sure of its own answer; without a log-probability (None) it is not."""
        return self.sure is None or logprob is None or logprob <= self.sure


@dataclass(frozen=True, kw_only=True)
class FittedGate:
    """A gate, and how it does on the n questions that it was fitted on, all of them shares of 1.

    `none`, `memory` and `gated` are the mean marks of the answers, `share_gated` is the share of questions that are
    answered without memory.
    """

    gate: Gate
    n: int
    none: float
    memory: float
    gated: float
    share_gated: float


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOutAnswers:
    """Questions that were answered without and with memory.

    `best_N` has the best retrieval score of each question, `none_N` and `memory_N` the marks (0 to 1) of its answers,
    and `logprob_N` the mean log-probability a token of the answer without memory; None where the reader does not tell.
    """

    best_N: Numbers
    none_N: Numbers
    memory_N: Numbers
    logprob_N: Numbers | None = None


def find_best_score(scores: Sequence[float]) -> float:
    """Return the best of a question's retrieval scores, or minus infinity where nothing was retrieved."""
    return max(scores, default=NOTHING_FOUND)


def choose_fold(cluster: str) -> int:
    """Return the fold of all questions of a cluster, from 0: by a hash, so that it is the same in every run."""
    return int(hashlib.sha256(f"fold of {cluster}".encode()).hexdigest(), 16) % NUM_FOLDS


def fit_gate(answers: HeldOutAnswers, *, max_loss: float) -> FittedGate:
    """Fit the most cautious gate that costs held-out questions at most `max_loss` of their mean mark.

    First the limit of certainty: the one with the best mean mark, if that is more than `max_loss` better than without
    such a limit. Then the retrieval score: of all thresholds whose mean mark is at most `max_loss` below that of the
    best, the highest. So items farther away than those that helped are not trusted, whatever they would do.

    Raises:
        ValueError: there are no questions, or nothing was retrieved for any.
    """
    best_N, none_N, memory_N = (np.asarray(each, float) for each in (answers.best_N, answers.none_N, answers.memory_N))
    if not np.isfinite(best_N).any():
        raise ValueError(f"a gate cannot be fitted on {len(best_N)} questions of which none has a retrieved item")
    sure, is_sure_N = None, np.zeros(len(best_N), bool)
    if answers.logprob_N is not None:
        logprob_N = np.asarray(answers.logprob_N, float)
        sure = _fit_certainty(logprob_N, none_N, memory_N, least_gain=max_loss)
        is_sure_N = is_sure_N if sure is None else logprob_N > sure
    chosen_N = np.where(is_sure_N, none_N, memory_N)
    threshold = _fit_threshold(best_N, none_N, chosen_N, max_loss=max_loss)
    is_gated_N = is_sure_N | (best_N <= threshold)
    return FittedGate(
        gate=Gate(threshold=threshold, sure=sure),
        n=len(best_N),
        none=float(none_N.mean()),
        memory=float(memory_N.mean()),
        gated=float(np.where(is_gated_N, none_N, memory_N).mean()),
        share_gated=float(is_gated_N.mean()),
    )


def _fit_certainty(
    logprob_N: np.ndarray, none_N: np.ndarray, memory_N: np.ndarray, *, least_gain: float
) -> float | None:
    """Return the log-probability above which the reader's own answers do best; None if that gains too little."""
    limits, marks = _mark_limits(logprob_N, memory_N, none_N)
    best = int(np.flatnonzero(marks >= marks.max() - 1e-9)[-1])
    return float(limits[best]) if marks[best] > memory_N.mean() + least_gain + 1e-9 else None


def _fit_threshold(best_N: np.ndarray, none_N: np.ndarray, memory_N: np.ndarray, *, max_loss: float) -> float:
    thresholds, marks = _mark_limits(best_N, none_N, memory_N)
    return float(thresholds[np.flatnonzero(marks >= marks.max() - max_loss - 1e-9)[-1]])


def _mark_limits(value_N: np.ndarray, below_N: np.ndarray, above_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every limit that parts the values differently, ascending, and the mean mark with each: marks of `above_N`
    for questions whose value is above it, else of `below_N`."""
    known_N = value_N[np.isfinite(value_N)]
    limits = np.unique(np.append(known_N, np.nextafter(known_N.min(), -np.inf)))
    order_N = np.argsort(value_N, kind="stable")
    below, above = (np.concatenate([[0.0], np.cumsum(each_N[order_N])]) for each_N in (below_N, above_N))
    num_below = np.searchsorted(value_N[order_N], limits, side="right")
    return limits, (below[num_below] + above[-1] - above[num_below]) / len(value_N)
