"""Where the files of a benchmark are on this machine, and that they are there before anything expensive starts."""

from pathlib import Path

from comem_core.evaluation.benchmarks import Benchmark
from tasks.context import Context


def benchmark_folder(benchmark: Benchmark, context: Context) -> Path | None:
    """Return the folder of a benchmark's files; None for one that ships with the project.

    Raises ValueError where the folder is not there: what it should hold, and where that comes from.
    """
    if benchmark.files is None:
        return None
    folder = context.benchmarks / benchmark.name
    if not folder.is_dir():
        raise ValueError(
            f"the files of {benchmark.name} are not at {folder}. It should hold {benchmark.files} "
            "COMEM_BENCHMARKS names another folder in which each benchmark has one."
        )
    return folder
