"""Seed questions: a benchmark's training split by name, or annotation files with a folder or archive of pictures.

Files are named as `format:annotations:pictures`, such as `infoseek:train.jsonl:images.tar`; a comma separates two
annotation files, if the format has two. Each format has one module, which turns its rows into questions. Among the
questions whose picture is present, a hash decides which are taken. A source is named by its content, never by a path.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol

from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_all_benchmarks, find_benchmark
from comem_core.evaluation.metrics import Metric
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.knowledge.items import Question, hash_content_parts
from comem_core.synthesis.seeds import encyclopedic_vqa, infoseek, okvqa
from comem_core.synthesis.seeds.files import (
    NO_PROMPTS,
    BadSeed,
    CheckLanguage,
    SeedFile,
    SeedFormat,
    describe_unknown_language,
)

FORMATS: Mapping[str, SeedFormat] = {
    module.FORMAT.name: module.FORMAT for module in (infoseek, encyclopedic_vqa, okvqa)
}


class SeedSource(Protocol):
    """Seed questions in a fixed random order, so that the first n are always a fair sample."""

    def count(self, limit: int) -> int:
        """Count the questions, up to `limit`."""
        ...

    def name_content(self, num: int) -> str:
        """Name the first `num` questions by their content."""
        ...

    def read_questions(self, num: int) -> Iterator[Question]:
        """Yield the first `num` questions, without those whose picture cannot be decoded."""
        ...

    def list_faults(self) -> list[BadSeed]:
        """List the rows that have given no question so far."""
        ...


class BenchmarkSeeds:
    """The training split of a registered benchmark, from the folder with the benchmark's files."""

    def __init__(self, benchmark: Benchmark, folder: Path | None, check_language: CheckLanguage):
        self.benchmark, self.folder, self.check_language = benchmark, folder, check_language
        self._faults: dict[tuple[str, int | None], BadSeed] = {}

    def count(self, limit: int) -> int:
        return sum(1 for _ in islice(self._read(), limit))

    def name_content(self, num: int) -> str:
        unknown = {fault.detail for fault in self._faults.values() if fault.reason == NO_PROMPTS}
        left_out = f" without {hash_content_parts(*sorted(unknown))}" if unknown else ""
        return f"{self.benchmark.name}@{self.benchmark.revision('train', self.folder)}{left_out}"

    def read_questions(self, num: int) -> Iterator[Question]:
        """Yield the first `num` questions. Raises ValueError for a question that names another benchmark."""
        for question in islice(self._read(), num):
            if question.benchmark != self.benchmark.name:
                raise ValueError(
                    f"the seed question {question.question_id!r} of the benchmark {self.benchmark.name!r} names the "
                    f"benchmark {question.benchmark!r}, whose metric would judge the answers. Set "
                    f"benchmark={self.benchmark.name!r} in the questions that `seeds` yields"
                )
            yield question

    def list_faults(self) -> list[BadSeed]:
        return list(self._faults.values())

    def _read(self) -> Iterator[Question]:
        assert self.benchmark.seeds is not None
        for number, each in enumerate(self.benchmark.seeds(self.folder), start=1):
            if isinstance(each, MissingQuestion):
                bad = BadSeed(file=each.file, row=each.row or 0, reason=each.reason, detail=each.detail)
            elif not (bad := describe_unknown_language(each, self.benchmark.name, number, self.check_language)):
                yield each
                continue
            self._faults[bad.file, bad.row] = bad


def find_source(
    spec: str,
    *,
    kept: Path | None = None,
    find_folder: Callable[[Benchmark], Path | None] = lambda _: None,
    check_language: CheckLanguage = lambda _: None,
) -> SeedSource:
    """Find the seed questions that a recipe names.

    The folder `kept` caches hashes of pictures between runs. `find_folder` returns the folder of a benchmark's files.
    `check_language` raises ValueError for a language that cannot be asked; such questions are listed as faults.

    Raises ValueError for an unknown name or format, and for a file or folder that does not exist.
    """
    if (benchmark := _find_benchmarks_with_seeds().get(spec)) is not None:
        folder = find_folder(benchmark)
        find_seed_metric(spec)
        return BenchmarkSeeds(benchmark, folder, check_language)
    form, files, pictures = _parse_spec(spec)
    return SeedFile(form, files, pictures, FORMATS[form].rows, kept=kept, check_language=check_language)


def check_source(spec: str) -> None:
    """Refuse what `find_source` would refuse, without opening a file. Raises ValueError."""
    if spec in _find_benchmarks_with_seeds():
        find_seed_metric(spec)
    else:
        _parse_spec(spec)


def _find_benchmarks_with_seeds() -> dict[str, Benchmark]:
    return {name: benchmark for name, benchmark in find_all_benchmarks().items() if benchmark.seeds is not None}


def _parse_spec(spec: str) -> tuple[str, list[Path], Path]:
    """Parse format:annotations:pictures. Raises ValueError for an unknown format or a missing path."""
    form, annotations, pictures = ([*spec.split(":", 2), "", ""])[:3]
    if form not in FORMATS or not pictures:
        raise ValueError(
            f"seeds {spec!r}: expected a benchmark ({', '.join(_find_benchmarks_with_seeds())}), or "
            f"format:annotations:pictures with a format of {', '.join(FORMATS)}"
        )
    found = FORMATS[form]
    files = [Path(name) for name in annotations.split(",")]
    if len(files) != found.num_files:
        raise ValueError(f"seeds {spec!r}: {form} has {found.num_files} annotation file(s); found {len(files)}")
    for path in (*files, Path(pictures)):
        if not path.exists():
            raise ValueError(f"seeds {spec!r}: {path} does not exist")
    return form, files, Path(pictures)


def find_seed_metric(benchmark: str | None) -> Metric:
    """Return the official metric of a seed question, given the benchmark that it names.

    A question without a benchmark is scored like InfoSeek's. Raises ValueError for an unknown benchmark, listing the
    known ones.
    """
    if benchmark is None:
        return INFOSEEK
    if benchmark in FORMATS and (metric := FORMATS[benchmark].metric):
        return metric
    return find_benchmark(benchmark).metrics(None)[0]


def share_out(counts: Sequence[int], total: int) -> list[int]:
    """Distribute `total` questions evenly over sources; other sources fill in for a small one, in order."""
    shares = [0] * len(counts)
    while (left := total - sum(shares)) and (open_places := [p for p, n in enumerate(counts) if shares[p] < n]):
        each = max(1, left // len(open_places))
        for place in open_places[:left]:
            shares[place] += min(each, counts[place] - shares[place])
    return shares
