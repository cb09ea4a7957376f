"""Which official metric scores the seed questions of which benchmark."""

from collections.abc import Mapping

from comem_core.evaluation.metrics import Metric
from comem_core.evaluation.metrics.encyclopedic import ENCYCLOPEDIC
from comem_core.evaluation.metrics.infoseek import INFOSEEK as INFOSEEK_METRIC
from comem_core.evaluation.metrics.vqa import VQA_ACCURACY

INFOSEEK, ENCYCLOPEDIC_VQA, OKVQA = "infoseek", "encyclopedic-vqa", "okvqa"

# A question that names no benchmark has gold answers of InfoSeek's kind.
METRICS: Mapping[str | None, Metric] = {
    None: INFOSEEK_METRIC,
    INFOSEEK: INFOSEEK_METRIC,
    "countries-vqa": INFOSEEK_METRIC,
    ENCYCLOPEDIC_VQA: ENCYCLOPEDIC,
    OKVQA: VQA_ACCURACY,
}


def metric_of(benchmark: str | None) -> Metric:
    """Return the metric of a benchmark's questions. Raises ValueError that names the known benchmarks."""
    if benchmark not in METRICS:
        known = ", ".join(sorted(name for name in METRICS if name))
        raise ValueError(f"no official metric is known for questions of {benchmark!r}; known are {known}")
    return METRICS[benchmark]
