"""The run's benchmark: the folder of its files on this machine, the part that is asked, and its questions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.knowledge.items import Question
from comem_core.neutral import OFF_AT_NONE
from comem_core.recipes.recipe import EvaluationRecipe
from tasks.engine.context import Context, ParameterRefused
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.rows.tables import write_questions
from tasks.run import Run, warm_workers
from warehouse.schemas import check_rows

BENCHMARK = Stage(
    name="benchmark",
    version="2",
    table="question",
    explained=Explanation(
        subject="benchmark data", roles=("questions",), extent=("num_questions",), kinds=("benchmark",)
    ),
)
# The shard of the questions that cannot be asked.
MISSING = "missing"


@dataclass(frozen=True, kw_only=True)
class BenchmarkKey:
    """Which questions of which benchmark, with the revision of its data."""

    benchmark: str
    revision: str
    part: str
    num_questions: int | None = field(default=None, metadata=OFF_AT_NONE)


def name_part(recipe: EvaluationRecipe) -> str:
    """Return the part of the benchmark that is asked: the recipe's, or else the benchmark's last part.

    Raises ValueError for a part that the benchmark does not have.
    """
    parts = find_benchmark(recipe.benchmark).parts
    if recipe.part is not None and recipe.part not in parts:
        raise ValueError(f"{recipe.benchmark} has no part {recipe.part!r}; it has {', '.join(parts)}")
    return recipe.part or parts[-1]


def find_benchmark_folder(benchmark: Benchmark, context: Context) -> Path | None:
    """Return the folder of a benchmark's files; None for one that ships with the project.

    Raises ParameterRefused if the folder is missing, which says what it should hold and where that comes from.
    """
    if benchmark.files is None:
        return None
    folder = context.benchmarks / benchmark.name
    if not folder.is_dir():
        raise ParameterRefused(
            f"the files of {benchmark.name} are not at {folder}. It should hold {benchmark.files} "
            "Set COMEM_BENCHMARKS to use another folder, with one subfolder for each benchmark."
        )
    return folder


@stage_task(name="collect-benchmark")
def collect_benchmark(run: Run) -> Reference:
    """Read the benchmark's questions."""
    recipe = run.recipe.evaluation
    benchmark = find_benchmark(recipe.benchmark)
    folder, asked_part = find_benchmark_folder(benchmark, run.context), name_part(run.recipe.evaluation)
    key = BenchmarkKey(
        benchmark=benchmark.name,
        revision=benchmark.revision(asked_part, folder),
        part=asked_part,
        num_questions=recipe.num_questions,
    )

    def make(artefact: Partial) -> None:
        warm_workers(run)
        missing: list[MissingQuestion] = []
        questions = islice(_take_askable(benchmark.read(asked_part, folder), missing), recipe.num_questions)
        write_questions(artefact, "part-00000", questions)
        if missing:
            _write_missing(artefact, benchmark.name, missing)

    return run_stage(run, BENCHMARK, key, {}, make)


def _take_askable(read: Iterable[Question | MissingQuestion], missing: list[MissingQuestion]) -> Iterator[Question]:
    """Yield the questions that can be asked, and add the others to `missing`."""
    for each in read:
        if isinstance(each, Question):
            yield each
        else:
            missing.append(each)


def _write_missing(artefact: Partial, benchmark: str, missing: Sequence[MissingQuestion]) -> None:
    """Write the list of questions that cannot be asked; every score's coverage counts them.

    Raises ValueError, with the first reasons, if no question can be asked.
    """
    counts = Counter(each.reason for each in missing)
    if not pq.read_metadata(artefact.folder / "part-00000.parquet").num_rows:
        shown = "; ".join(f"{each.question_id}: {each.detail}" for each in missing[:3])
        raise ValueError(f"no question of {benchmark} can be asked ({dict(counts)}). {shown}")
    artefact.write_shard(
        MISSING, check_rows("missing_question", [asdict(each) for each in missing]), rows_of="missing_question"
    )
    artefact.measure("missing_questions", counts)
    get_stage_logger().warning("%d questions of %s cannot be asked: %s", len(missing), benchmark, dict(counts))
