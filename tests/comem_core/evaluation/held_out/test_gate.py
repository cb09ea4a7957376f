"""The gate: the most cautious threshold that costs held-out questions next to nothing."""

import numpy as np
import pytest

from comem_core.evaluation.held_out.gate import NUM_FOLDS, FittedGate, Gate, HeldOutAnswers, choose_fold, fit_gate


def fit(
    best: list[float],
    none: list[float],
    memory: list[float],
    logprob: list[float] | None = None,
    max_loss: float = 0.0,
) -> FittedGate:
    answers = HeldOutAnswers(best_N=best, none_N=none, memory_N=memory, logprob_N=logprob)
    return fit_gate(answers, max_loss=max_loss)


def test_memory_is_trusted_above_the_threshold_only():
    gate = Gate(threshold=0.5)
    assert gate.can_trust([0.2, 0.6]) and not gate.can_trust([0.5]) and not gate.can_trust([])


def test_memory_is_not_needed_where_the_reader_is_sure():
    gate = Gate(threshold=0.5, sure=-0.1)
    assert gate.is_unsure(-0.1) and not gate.is_unsure(-0.05) and gate.is_unsure(None)
    assert Gate(threshold=0.5).is_unsure(0.0)


def test_the_readers_own_answer_is_taken_where_that_helps():
    best = [0.9] * 4
    fitted = fit(best, none=[1, 1, 0, 0], memory=[0, 1, 1, 1], logprob=[-0.01, -0.02, -0.7, -0.8])
    assert fitted.gate.sure == -0.02  # the highest that does as well: memory is asked where both are right
    assert (fitted.gated, fitted.share_gated) == (1, 0.25)
    useless = fit(best, none=[0, 0, 0, 0], memory=[0, 1, 1, 1], logprob=[-0.01, -0.02, -0.7, -0.8])
    assert useless.gate.sure is None
    too_small = fit(best, none=[1, 0, 0, 0], memory=[0, 1, 1, 1], logprob=[-0.01, -0.5, -0.7, -0.8], max_loss=0.25)
    assert too_small.gate.sure is None


def test_both_limits_are_fitted_together():
    fitted = fit([0.9, 0.9, 0.1, 0.9], [1, 0, 1, 0], [0, 1, 0, 1], logprob=[-0.01, -0.9, -0.9, -0.8])
    assert fitted.gate == Gate(threshold=0.1, sure=-0.8) and fitted.gated == 1


def test_the_threshold_is_where_memory_begins_to_help():
    fitted = fit([0.1, 0.2, 0.3, 0.8, 0.9], none=[1, 1, 0, 0, 0], memory=[0, 0, 0, 1, 1])
    assert fitted.gate == Gate(threshold=0.3)  # the third question is right under neither: it is not trusted
    assert (fitted.none, fitted.memory, fitted.gated, fitted.share_gated) == (0.4, 0.4, 0.8, 0.6)


def test_memory_that_never_helps_is_never_trusted():
    fitted = fit([0.1, 0.9, 0.5], none=[1, 1, 1], memory=[0, 1, 0])
    assert fitted.share_gated == 1 and not fitted.gate.can_trust([0.9])


def test_a_gate_that_would_cost_more_than_it_may_is_not_taken():
    best, none, memory = [k / 100 for k in range(100)], [0.0] * 100, [1.0] * 100
    assert fit(best, none, memory).share_gated == 0
    cautious = fit(best, none, memory, max_loss=0.05)
    assert (cautious.share_gated, cautious.gated) == (0.05, 0.95)
    assert cautious.gate.can_trust([0.05]) and not cautious.gate.can_trust([0.04])


def test_questions_without_items_count_as_answered_without_memory():
    fitted = fit([-np.inf, 0.5], none=[1, 0], memory=[0, 1])
    assert (fitted.gated, fitted.share_gated) == (1, 0.5)
    with pytest.raises(ValueError, match="2 questions of which none has a retrieved item"):
        fit([-np.inf, -np.inf], none=[1, 0], memory=[0, 1])
    with pytest.raises(ValueError, match="0 questions"):
        fit([], none=[], memory=[])


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_that_is_higher_does_as_well(seed: int):
    random = np.random.default_rng(seed)
    best_N = random.integers(10, size=60) / 10  # with ties
    none_N, memory_N = random.random(60), random.random(60)
    answers = HeldOutAnswers(best_N=best_N, none_N=none_N, memory_N=memory_N)
    fitted = fit_gate(answers, max_loss=0.02)

    def gate(threshold: float) -> float:
        return float(np.where(best_N > threshold, memory_N, none_N).mean())

    at = {threshold: gate(threshold) for threshold in (-1.0, *np.unique(best_N).tolist())}
    good = [threshold for threshold, mark in at.items() if mark >= max(at.values()) - 0.02]
    assert gate(fitted.gate.threshold) == pytest.approx(gate(max(good))) == pytest.approx(fitted.gated)
    assert fitted.share_gated == pytest.approx(float((best_N <= max(good)).mean()))


def test_a_cluster_is_in_one_fold_and_every_fold_has_some():
    folds = [choose_fold(f"Q{number}") for number in range(100)]
    assert set(folds) == set(range(NUM_FOLDS)) and folds[7] == choose_fold("Q7")
