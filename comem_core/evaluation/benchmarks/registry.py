"""The benchmarks by name: every file of this folder that has a `BENCHMARK`, and those of other packages.

Another package offers its own by an entry point of the group `comem.benchmarks` that names a `Benchmark`, or a module
with a `BENCHMARK`. Workers must have that package too.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from comem_core.evaluation import benchmarks
from comem_core.evaluation.benchmarks import Benchmark

GROUP = "comem.benchmarks"


@cache
def all_benchmarks() -> Mapping[str, Benchmark]:
    """Return every benchmark by its name, in order of the names.

    Raises ValueError for two of one name, and for an entry point that leads to none.
    """
    found: dict[str, tuple[str, Benchmark]] = {}
    for origin, benchmark in [*_shipped(), *_offered()]:
        if benchmark.name in found:
            raise ValueError(
                f"two benchmarks are named {benchmark.name!r}: {found[benchmark.name][0]} and {origin}; rename one"
            )
        found[benchmark.name] = origin, benchmark
    return {name: found[name][1] for name in sorted(found)}


def benchmark_named(name: str) -> Benchmark:
    """Return a benchmark by name. Raises ValueError that names the allowed ones."""
    if name not in all_benchmarks():
        raise ValueError(f"unknown benchmark: {name!r}; allowed are {', '.join(all_benchmarks())}")
    return all_benchmarks()[name]


def _shipped() -> Iterator[tuple[str, Benchmark]]:
    for found in pkgutil.iter_modules(benchmarks.__path__):
        module = import_module(f"{benchmarks.__name__}.{found.name}")
        if hasattr(module, "BENCHMARK"):
            yield module.__name__, module.BENCHMARK


def _offered() -> Iterator[tuple[str, Benchmark]]:
    for point in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        loaded: Any = point.load()
        benchmark = getattr(loaded, "BENCHMARK", loaded)
        if not isinstance(benchmark, Benchmark):
            raise ValueError(
                f"entry point {point.name} = {point.value} of {GROUP}: expected a Benchmark, or a module with a "
                f"BENCHMARK; found {type(benchmark).__name__}"
            )
        yield point.value, benchmark
