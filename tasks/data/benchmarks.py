"""Where the files of a benchmark are on this machine, and that they are there before anything expensive starts."""

from pathlib import Path

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.benchmarks.registry import benchmark_named
from comem_core.recipes.recipe import EvaluationRecipe
from tasks.engine.context import Context


def part_of(recipe: EvaluationRecipe) -> str:
    """Name the part of the benchmark that is asked: the recipe's, or the benchmark's last one.

    Raises ValueError for a part that the benchmark does not have.
    """
    parts = benchmark_named(recipe.benchmark).parts
    if recipe.part is not None and recipe.part not in parts:
        raise ValueError(f"{recipe.benchmark} has no part {recipe.part!r}; it has {', '.join(parts)}")
    return recipe.part or parts[-1]


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
