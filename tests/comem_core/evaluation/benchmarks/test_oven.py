"""OVEN over the real annotation files with a handful of pictures."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.metrics import Metric, Scored

REAL = Path(__file__).parents[4] / "../shared/fixtures/oven"
QUERY, ENTITY_3K, ENTITY = "oven_query_val.jsonl", "oven_entity_val_3k.jsonl", "oven_entity_val.jsonl"
ROW = {
    "data_id": "oven_query_val_1", "image_id": "oven_1", "question": "what bird is this?", "entity_id": "Q755737",
    "entity_text": "Killdeer", "data_split": "query_val_seen",
}  # fmt: skip


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no OVEN annotations at {REAL}")
def test_every_real_row_is_a_question_or_missing(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    rows = [json.loads(line) for name in (QUERY, ENTITY_3K) for line in (REAL / name).open(encoding="utf-8")]
    for name in (QUERY, ENTITY_3K):
        shutil.copy(REAL / name, tmp_path / name)
    there = {row["image_id"] for row in rows[::300]}
    write.pictures(tmp_path / "oven_images/04", {f"{image_id}.jpg": picture() for image_id in there})
    found = reading("oven", tmp_path, "val_3k")
    assert set(found.questions) == {row["data_id"] for row in rows if row["image_id"] in there}
    assert found.counts == {"missing_image": 3291 + 3000 - len(found.questions)} and len(found.questions) >= 21
    assert Counter(each.split for each in [*found.questions.values(), *found.missing]) == {
        "query_seen": 1023, "query_unseen": 2268, "entity_seen": 998, "entity_unseen": 2002,
    }  # fmt: skip
    by_id = {row["data_id"]: row for row in rows}
    for question in found.questions.values():
        row = by_id[question.question_id]
        assert (question.answers, question.entity_id) == ((row["entity_text"],), row["entity_id"])
        assert found.prompt(question.question_id) == row["question"]


def test_the_full_and_the_small_entity_file_are_parts_and_never_mistaken(
    tmp_path: Path, reading: Callable[..., Any], write: Any
) -> None:
    write.lines(tmp_path / QUERY, [ROW])
    write.lines(tmp_path / ENTITY_3K, [ROW | {"data_id": "small", "data_split": "entity_val_seen"}])
    with pytest.raises(ValueError, match=r"part val: looked for oven_entity_val.jsonl; found oven_entity_val_3k.jsonl"):
        reading("oven", tmp_path, "val")
    write.lines(tmp_path / ENTITY, [ROW | {"data_id": "full", "data_split": "entity_val_unseen"}])
    assert set(reading("oven", tmp_path, "val").reasons) == {"oven_query_val_1", "full"}
    assert set(reading("oven", tmp_path, "val_3k").reasons) == {"oven_query_val_1", "small"}


def test_rows_without_an_entity_or_of_another_split_are_counted(
    tmp_path: Path, reading: Callable[..., Any], write: Any, picture: Callable[..., bytes]
) -> None:
    rows = [ROW, ROW | {"data_id": "b", "entity_id": ""}, ROW | {"data_id": "c", "data_split": "query_test_seen"}]
    write.lines(tmp_path / QUERY, rows)
    write.lines(tmp_path / ENTITY, [ROW])
    write.pictures(tmp_path, {"oven_1.jpg": picture()})
    found = reading("oven", tmp_path, "val")
    assert set(found.questions) == {"oven_query_val_1"}
    assert sorted((each.question_id, each.reason, each.split) for each in found.missing if each.split) == [
        ("b", "no_gold", "query_seen"),
        ("oven_query_val_1", "duplicate_id", "query_seen"),
    ]
    assert found.reasons["c"] == "bad_row"


def test_the_total_is_harmonic_within_and_across_queries_and_entities() -> None:
    metric = Metric(name="any", score=lambda answer, gold: Scored(1.0, unparsable=False))
    marks = {
        "query_seen": [1.0] * 3 + [0.0] * 1,  # 75
        "query_unseen": [1.0] * 1 + [0.0] * 3,  # 25: harmonic mean 37.5
        "entity_seen": [1.0] * 2 + [0.0] * 2,  # 50
        "entity_unseen": [1.0] * 1 + [0.0] * 1,  # 50: harmonic mean 50
    }
    assert find_benchmark("oven").total.compute_percent(marks, metric) == 42.86  # 2 / (1 / 37.5 + 1 / 50)


def test_titles_are_part_of_the_revision(tmp_path: Path, reading: Callable[..., Any], write: Any) -> None:
    write.lines(tmp_path / QUERY, [ROW])
    write.lines(tmp_path / ENTITY, [ROW])
    benchmark = reading("oven", tmp_path, "val").benchmark
    before = benchmark.revision("val", tmp_path)
    write.lines(tmp_path / "wikipedia_6m.jsonl", [{"id": "Q755737", "content": "Killdeer"}])
    assert benchmark.revision("val", tmp_path) != before
