"""SQuAD v1.1's official metrics, which ViQuAE uses: exact match and token F1, each the best over the gold answers.

Equal to PaulLerner/ViQuAE's `meerqat.train.metrics.squad` (Lerner et al. 2022), which normalises as InfoSeek does:
lower case, no ASCII punctuation, no English articles. Where both sides normalise to nothing, they match exactly but
their F1 is 0, as officially. The official percentages are not rounded; here they have 2 decimals.
"""

from collections import Counter
from functools import lru_cache

from comem_core.evaluation.metrics import GoldAnswers, Metric, Scored, average_hundreds
from comem_core.evaluation.metrics.infoseek import matches_any, normalise_answer


def compute_token_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of the normalised words; repeated words count repeatedly."""
    given, wanted = _words(answer), _words(reference)
    if set(given).isdisjoint(wanted):
        return 0.0
    if given == wanted:
        return 1.0
    num_same = sum((Counter(given) & Counter(wanted)).values())
    precision, recall = num_same / len(given), num_same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


def score_exact_match(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by whether it equals one of the gold answers once both are normalised."""
    _check(gold)
    return Scored(float(matches_any(answer, gold.answers)), unparsable=not _words(answer))


def score_token_f1(answer: str, gold: GoldAnswers) -> Scored:
    """Score an answer by its token F1 with the closest gold answer."""
    _check(gold)
    return Scored(max(compute_token_f1(answer, each) for each in set(gold.answers)), unparsable=not _words(answer))


@lru_cache(maxsize=1 << 16)
def _words(text: str) -> tuple[str, ...]:
    return tuple(normalise_answer(text).split())


def _check(gold: GoldAnswers) -> None:
    if not gold.answers:
        raise ValueError("a question has no gold answer, so no answer to it can be scored by SQuAD's metrics")


EXACT_MATCH = Metric(name="exact_match", score=score_exact_match, percent=average_hundreds)
TOKEN_F1 = Metric(name="token_f1", score=score_token_f1, percent=average_hundreds)
