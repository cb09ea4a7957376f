"""The benchmarks by name: every file of this folder that has a `BENCHMARK`, and the benchmarks of other packages.

Another package adds one with an entry point of the group `comem.benchmarks` that names a `Benchmark`, or a module with
a `BENCHMARK`. Workers need that package too.
"""

from collections.abc import Mapping
from functools import cache

from comem_core.declared import find_declared
from comem_core.evaluation import benchmarks
from comem_core.evaluation.benchmarks import Benchmark


@cache
def find_all_benchmarks() -> Mapping[str, Benchmark]:
    """Return every benchmark by its name, in the order of the names.

    Raises ValueError for two benchmarks of one name, and for an entry point to anything else.
    """
    return find_declared(benchmarks, "BENCHMARK", Benchmark, group="comem.benchmarks", word="benchmarks")


def find_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name. Raises ValueError for an unknown one."""
    if name not in find_all_benchmarks():
        raise ValueError(f"unknown benchmark: {name!r}; allowed are {', '.join(find_all_benchmarks())}")
    return find_all_benchmarks()[name]
