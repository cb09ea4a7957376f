"""Which official metric scores the questions of which benchmark, its training questions included."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from comem_core.evaluation.metrics import GoldAnswers, Scored, score_answer
from comem_core.evaluation.vqa_accuracy import score_encyclopedic, score_vqa

INFOSEEK, ENCYCLOPEDIC_VQA, OKVQA = "infoseek", "encyclopedic-vqa", "okvqa"


@dataclass(frozen=True)
class Metric:
    """A metric by the name that verdicts tell, and how it scores an answer."""

    name: str
    score: Callable[[str, GoldAnswers], Scored]


_INFOSEEK = Metric("infoseek", score_answer)
# A question that names no benchmark has gold answers of InfoSeek's kind.
METRICS: Mapping[str | None, Metric] = {
    None: _INFOSEEK,
    INFOSEEK: _INFOSEEK,
    "countries-vqa": _INFOSEEK,
    ENCYCLOPEDIC_VQA: Metric("encyclopedic_exact_match", score_encyclopedic),
    OKVQA: Metric("vqa_accuracy", score_vqa),
}


def metric_of(benchmark: str | None) -> Metric:
    """Return the metric of a benchmark's questions. Raises ValueError that names the known benchmarks."""
    if benchmark not in METRICS:
        known = ", ".join(sorted(name for name in METRICS if name))
        raise ValueError(f"no official metric is known for questions of {benchmark!r}; known are {known}")
    return METRICS[benchmark]
