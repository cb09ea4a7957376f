"""Small pictures, files in the released schemas, and what a benchmark makes of them."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.knowledge.items import Question

EMBEDDED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class Reading:
    """What a benchmark yields for a part of a folder, in its order and by id."""

    benchmark: Benchmark
    folder: Path
    yielded: Sequence[Question | MissingQuestion]

    @property
    def questions(self) -> dict[str, Question]:
        return {each.question_id: each for each in self.yielded if isinstance(each, Question)}

    @property
    def missing(self) -> list[MissingQuestion]:
        return [each for each in self.yielded if isinstance(each, MissingQuestion)]

    @property
    def reasons(self) -> dict[str, str]:
        return {each.question_id: each.reason for each in self.missing}

    @property
    def counts(self) -> Counter[str]:
        return Counter(each.reason for each in self.missing)

    def prompt(self, question_id: str) -> str:
        return self.benchmark.wording.of(self.questions[question_id])

    def percent(self, answer_of: Callable[[Question], str]) -> float:
        """The total under the official metric where all questions get the answers of a function."""
        official, marks = self.benchmark.metrics(self.folder)[0], {}
        for question in self.questions.values():
            marks.setdefault(question.split, []).append(official.score(answer_of(question), question).correct)
        return self.benchmark.total.compute_percent(marks, official)


@pytest.fixture
def picture() -> Callable[..., bytes]:
    def encoded(shade: int = 1, kind: str = "JPEG") -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), (shade, 20, 60)).save(stream, kind)
        return stream.getvalue()

    return encoded


@pytest.fixture
def reading() -> Callable[..., Reading]:
    def read(name: str, folder: Path, part: str) -> Reading:
        benchmark = find_benchmark(name)
        return Reading(benchmark, folder, list(benchmark.read(part, folder)))

    return read


@pytest.fixture
def write() -> "type[Writer]":
    return Writer


class Writer:
    """Writes files as they are released."""

    @staticmethod
    def lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        said = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_text("".join(f"{line}\n" for line in said), encoding="utf-8")
        return path

    @staticmethod
    def json(path: Path, document: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    @staticmethod
    def pictures(folder: Path, files: Mapping[str, bytes]) -> Path:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    @staticmethod
    def parquet(
        path: Path,
        rows: Sequence[Mapping[str, Any]],
        *,
        kinds: Mapping[str, pa.DataType] | None = None,
        row_group_size: int = 100,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            columns[name] = pa.array(values, type=(kinds or {}).get(name))
        pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
        return path


@pytest.fixture
def embedded() -> pa.DataType:
    """The type of a column of pictures, as `datasets` keeps one."""
    return EMBEDDED
