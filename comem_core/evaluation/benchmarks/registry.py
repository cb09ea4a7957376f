"""The benchmarks by name."""

from collections.abc import Mapping

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.benchmarks.countries_vqa import COUNTRIES_VQA
from comem_core.evaluation.benchmarks.own import OWN

BENCHMARKS: Mapping[str, Benchmark] = {benchmark.name: benchmark for benchmark in (COUNTRIES_VQA, OWN)}


def benchmark_named(name: str) -> Benchmark:
    """Return a benchmark by name. Raises ValueError that names the allowed ones."""
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark: {name!r}; allowed are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
