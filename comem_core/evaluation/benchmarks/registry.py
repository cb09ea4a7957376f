"""The benchmarks by name: every file of this folder that has a `BENCHMARK`."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from comem_core.evaluation import benchmarks
from comem_core.evaluation.benchmarks import Benchmark


@cache
def all_benchmarks() -> Mapping[str, Benchmark]:
    """Return every benchmark by its name, in order of the names."""
    modules = (
        import_module(f"{benchmarks.__name__}.{found.name}") for found in pkgutil.iter_modules(benchmarks.__path__)
    )
    found = [module.BENCHMARK for module in modules if hasattr(module, "BENCHMARK")]
    return {benchmark.name: benchmark for benchmark in sorted(found, key=lambda each: each.name)}


def benchmark_named(name: str) -> Benchmark:
    """Return a benchmark by name. Raises ValueError that names the allowed ones."""
    if name not in all_benchmarks():
        raise ValueError(f"unknown benchmark: {name!r}; allowed are {', '.join(all_benchmarks())}")
    return all_benchmarks()[name]
