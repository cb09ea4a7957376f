"""The questions (without pictures) of benchmarks that samples are kept apart from, where their files are at hand."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.knowledge.items import Question
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.rows.tables import PICTURE, make_question_table
from tasks.run import Run

KEPT_APART = Stage(name="kept-apart", version="2", table="question")
ROWS_PER_SHARD = 1000


@dataclass(frozen=True, kw_only=True)
class KeptApartKey:
    """All questions of a part of a benchmark, with the revision of its data."""

    benchmark: str
    revision: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Against:
    """The benchmarks by name, and why samples cannot be compared with those that are missing."""

    benchmarks: Mapping[str, Reference]
    missing: Mapping[str, str]


@stage_task(name="collect-against")
def collect_against(run: Run, benchmark: Reference) -> Against:
    """Collect the recipe's benchmark, and all questions of every other benchmark that it names in `against`.

    Missing data of another benchmark is only a warning; the data card names it.
    """
    own = run.recipe.evaluation.benchmark
    found, missing = {own: benchmark}, {}
    for name in dict.fromkeys(run.recipe.against):
        if name == own:
            continue
        other = find_benchmark(name)
        try:
            folder = find_benchmark_folder(other, run.context)
            part, revision = _find_part_at_hand(other, folder)
        except ValueError as error:
            missing[name] = str(error)
            if get_plan() is None:
                get_stage_logger().warning("samples are not compared with %s: %s", name, error)
            continue
        kept_apart = _collect_questions(run, other, folder, KeptApartKey(benchmark=name, revision=revision, part=part))
        if kept_apart.num_rows or get_plan() is not None:
            found[name] = kept_apart
        else:
            missing[name] = f"none of its questions could be read in {folder}: its pictures are not there"
            get_stage_logger().warning("samples are not compared with %s: %s", name, missing[name])
    if missing and (plan := get_plan()):
        where = f"are not below {run.context.benchmarks} (docs/benchmarks.md)"
        plan.notes.append(f"samples are not compared with benchmarks whose files {where}: {', '.join(missing)}")
    return Against(benchmarks=found, missing=missing)


def _find_part_at_hand(benchmark: Benchmark, folder: Path | None) -> tuple[str, str]:
    """Return the last part whose files are there, with its revision. Without any, raises the last part's ValueError."""
    faults = []
    for part in reversed(benchmark.parts):
        try:
            return part, benchmark.revision(part, folder)
        except ValueError as error:
            faults.append(error)
    raise faults[0]


def _collect_questions(run: Run, benchmark: Benchmark, folder: Path | None, key: KeptApartKey) -> Reference:
    def make(artefact: Partial) -> None:
        unread: Counter[str] = Counter()
        questions, place = _take_askable(benchmark.read(key.part, folder), unread), 0
        while (rows := list(islice(questions, ROWS_PER_SHARD))) or not place:
            artefact.write_shard(f"part-{place:05d}", make_question_table(rows).drop_columns(list(PICTURE)))
            place += 1
        if unread:
            artefact.measure("missing_questions", unread)
            get_stage_logger().warning("samples are not compared with some of %s: %s", benchmark.name, dict(unread))

    return run_stage(run, KEPT_APART, key, {}, make)


def _take_askable(read: Iterable[Question | MissingQuestion], unread: Counter[str]) -> Iterator[Question]:
    """Yield the questions that can be read, and count the others by reason."""
    for each in read:
        if isinstance(each, Question):
            yield each
        else:
            unread[each.reason] += 1
