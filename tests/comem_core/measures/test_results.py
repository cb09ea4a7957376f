"""Rows of `docs/results`: what they say, and that measuring some leaves the others as they are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.measures.provenance import describe_machine, find_commit
from comem_core.measures.results import Measured, read_results, write_results

FIELDS = ["measure", "recipe", "value", "low", "high", "unit", "n", "seeds", "command", "commit", "machine"]
ROW = Measured(measure="a", recipe="tiny_cpu", value=1.5, unit="s", n=3, command="make it", commit="abc", machine="one")


def named(*measures: str, value: float = 1.0) -> list[Measured]:
    return [replace(ROW, measure=measure, value=value) for measure in measures]


def test_a_row_has_the_fields_that_every_result_has(tmp_path: Path):
    [row] = read_results(write_results("topic", [ROW], folder=tmp_path / "docs" / "results"))
    assert list(row) == FIELDS
    assert row == {
        "measure": "a",
        "recipe": "tiny_cpu",
        "value": 1.5,
        "low": None,
        "high": None,
        "unit": "s",
        "n": 3,
        "seeds": [0],
        "command": "make it",
        "commit": "abc",
        "machine": "one",
    }


def test_new_rows_take_the_place_of_those_of_the_same_measure_and_others_stay_as_they_are(tmp_path: Path):
    path = write_results("topic", named("a", "b", "c"), folder=tmp_path)
    stored = read_results(path)
    stored[2]["note"] = "by hand"
    path.write_text(json.dumps(stored))
    write_results("topic", named("d", "b", value=2.0), folder=tmp_path)
    assert [(row["measure"], row["value"]) for row in read_results(path)] == [("a", 1), ("b", 2), ("c", 1), ("d", 2)]
    assert read_results(path)[2] == stored[2]


def test_rows_that_are_not_measured_any_more_go_where_that_is_asked_for(tmp_path: Path):
    write_results("topic", named("a", "b", "c"), folder=tmp_path)
    path = write_results("topic", named("c", "d"), folder=tmp_path, keep_others=False)
    assert [row["measure"] for row in read_results(path)] == ["c", "d"]


def test_a_topic_is_a_file_of_its_own(tmp_path: Path):
    write_results("topic", named("a"), folder=tmp_path)
    write_results("other", named("b"), folder=tmp_path)
    assert [row["measure"] for row in read_results(tmp_path / "topic.json")] == ["a"]


def test_a_row_without_commit_and_machine_is_of_this_code_and_machine_wherever_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # no checkout, but the code is in one
    [row] = read_results(write_results("topic", [replace(ROW, commit=None, machine="")]))
    assert (row["commit"], row["machine"]) == (find_commit(), describe_machine())
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", row["commit"])
