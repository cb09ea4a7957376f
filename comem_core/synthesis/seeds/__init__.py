"""Seed questions: a benchmark's training split by name, or annotation files with a folder or archive of pictures.

A file is named `format:annotations:pictures`, such as `infoseek:train.jsonl:images.tar`; where a format has two
annotation files, a comma parts them. One module a format says how its rows become questions. Which questions are taken
is decided by hash, among those whose picture is there; what a source is named by is their content, never a path.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.benchmarks.registry import find_all_benchmarks, find_benchmark
from comem_core.evaluation.metrics import Metric
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.knowledge.items import Question
from comem_core.synthesis.seeds import encyclopedic_vqa, infoseek, okvqa
from comem_core.synthesis.seeds.files import BadSeed, SeedFile, SeedFormat

FORMATS: Mapping[str, SeedFormat] = {
    module.FORMAT.name: module.FORMAT for module in (infoseek, encyclopedic_vqa, okvqa)
}


class SeedSource(Protocol):
    """Seed questions in an order of their own, any beginning of which is a fair sample."""

    def count(self, limit: int) -> int:
        """Count the questions, up to `limit`."""
        ...

    def name_content(self, num: int) -> str:
        """Name the first `num` questions by what they hold."""
        ...

    def read_questions(self, num: int) -> Iterator[Question]:
        """Yield the first `num` questions, without those whose picture turns out to be broken."""
        ...

    def list_faults(self) -> list[BadSeed]:
        """List the rows that gave no question so far."""
        ...


class BenchmarkSeeds:
    """The training split of a benchmark that is known by name."""

    def __init__(self, benchmark: Benchmark):
        self.benchmark = benchmark

    def count(self, limit: int) -> int:
        return sum(1 for _ in islice(self.benchmark.seeds(), limit))

    def name_content(self, num: int) -> str:
        return f"{self.benchmark.name}@{self.benchmark.revision('train', None)}"

    def read_questions(self, num: int) -> Iterator[Question]:
        """Yield the first `num` questions. Raises ValueError for one that names another benchmark."""
        for question in islice(self.benchmark.seeds(), num):
            if question.benchmark != self.benchmark.name:
                raise ValueError(
                    f"the seed question {question.question_id!r} of the benchmark {self.benchmark.name!r} names the "
                    f"benchmark {question.benchmark!r}; its metric would judge the answers. Set "
                    f"benchmark={self.benchmark.name!r} in the questions that `seeds` yields"
                )
            yield question

    def list_faults(self) -> list[BadSeed]:
        return []


def find_source(spec: str, *, kept: Path | None = None) -> SeedSource:
    """Find the seed questions that a recipe names; `kept` is a folder that keeps hashes of pictures from run to run.

    Raises ValueError for an unknown name or format, and for a file or folder that is not there.
    """
    if (benchmark := _trained_on().get(spec)) is not None:
        seed_metric(spec)
        return BenchmarkSeeds(benchmark)
    form, files, pictures = _files_of(spec)
    return SeedFile(form, files, pictures, FORMATS[form].rows, kept=kept)


def check_source(spec: str) -> None:
    """Refuse what `find_source` would, without opening anything. Raises ValueError."""
    if spec in _trained_on():
        seed_metric(spec)
    else:
        _files_of(spec)


def _trained_on() -> dict[str, Benchmark]:
    return {name: benchmark for name, benchmark in find_all_benchmarks().items() if any(benchmark.seeds())}


def _files_of(spec: str) -> tuple[str, list[Path], Path]:
    """Read format:annotations:pictures. Raises ValueError for an unknown format, and for what is not there."""
    form, annotations, pictures = ([*spec.split(":", 2), "", ""])[:3]
    if form not in FORMATS or not pictures:
        raise ValueError(
            f"seeds {spec!r}: expected a benchmark ({', '.join(_trained_on())}), or format:annotations:pictures with a "
            f"format of {', '.join(FORMATS)}"
        )
    found = FORMATS[form]
    files = [Path(name) for name in annotations.split(",")]
    if len(files) != found.num_files:
        raise ValueError(f"seeds {spec!r}: {form} has {found.num_files} annotation file(s); found {len(files)}")
    for path in (*files, Path(pictures)):
        if not path.exists():
            raise ValueError(f"seeds {spec!r}: {path} is not there")
    return form, files, Path(pictures)


def seed_metric(benchmark: str | None) -> Metric:
    """Return the official metric of a seed question by the benchmark that it names.

    A question that names no benchmark has gold answers of InfoSeek's kind. Raises ValueError that names the known ones.
    """
    if benchmark is None:
        return INFOSEEK
    if benchmark in FORMATS and (metric := FORMATS[benchmark].metric):
        return metric
    return find_benchmark(benchmark).metrics(None)[0]


def share_out(counts: Sequence[int], total: int) -> list[int]:
    """Share `total` questions out evenly over sources; what a small source lacks goes to the others, in order."""
    shares = [0] * len(counts)
    while (left := total - sum(shares)) and (open_places := [p for p, n in enumerate(counts) if shares[p] < n]):
        each = max(1, left // len(open_places))
        for place in open_places[:left]:
            shares[place] += min(each, counts[place] - shares[place])
    return shares
