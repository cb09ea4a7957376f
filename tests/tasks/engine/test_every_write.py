"""Whichever write of a run fails, nothing is lost, nothing is half there, and the same run then ends as if none had."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks.engine.every_write import make_rows
from tests.tasks.engine.write_points import FAILURES

ROOT = Path(__file__).parents[3]
FEWEST = 150
"""The small run has more write points than this, or the hook that counts them does not see them any more."""


def try_points(folder: Path, where: str, failure: str, *, step: int) -> list[dict]:
    """Let each `step`-th write point fail, and return what was found at each."""
    command = [sys.executable, "-m", "tests.tasks.engine.every_write", str(folder), where, failure, "--step", str(step)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    told, *tried = map(json.loads, ended.stdout.splitlines())
    assert told["write_points"] > FEWEST
    assert len(tried) == told["write_points"] // step
    return tried


@pytest.mark.parametrize(
    ("where", "failure", "step"),
    [
        ("folder", "killed", 22),
        ("folder", "no space", 70),
        ("folder", "io error", 71),
        ("bucket", "killed", 90),
        ("bucket", "no space", 95),
    ],
)
def test_a_run_whose_write_fails_loses_nothing_and_goes_on(tmp_path: Path, where: str, failure: str, step: int) -> None:
    tried = try_points(tmp_path, where, failure, step=step)
    assert [each for each in tried if each["faults"]] == []


def test_what_was_tried_has_rows_by_store_and_failure() -> None:
    rows = {row.measure: (row.value, row.n) for row in make_rows("bucket", "no space", 321, 2)}
    assert rows == {
        "write_points_tested/bucket/no_space": (321, 321),
        "write_points_wrong/bucket/no_space": (2, 321),
    }


@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", "bucket"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_run_whose_any_write_fails_loses_nothing_and_goes_on(tmp_path: Path, where: str, failure: str) -> None:
    tried = try_points(tmp_path, where, failure, step=1)
    assert [each for each in tried if each["faults"]] == []
