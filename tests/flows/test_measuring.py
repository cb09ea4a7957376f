"""The comparison of two checkouts: what it refuses, what it reads from a demo, and which row it writes."""

import json
import subprocess
from pathlib import Path

import pytest

from comem_core.measures.training import commits
from comem_core.pretraining.naming_recipe import NamingRecipe
from flows.local.results import _write_scores
from flows.measuring import Checkout, main, shown_scores
from warehouse.page.wording import ConditionWords, write_percent

SCORE = {
    "encoder_name": "trained",
    "benchmark": "countries-vqa",
    "k": 3,
    "split": "all",
    "metric": "infoseek",
    "low": 0.1,
    "high": 0.9,
    "n": 400,
}
SCORE |= {"prompt_tokens_mean": 20.0, "memory_vectors": 0}


def checkout(folder: Path, *, python: str) -> Path:
    """A committed folder whose Python is a script."""
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".gitignore").write_text(".venv\n")
    (folder / ".venv/bin/python").write_text(python)
    (folder / ".venv/bin/python").chmod(0o755)
    (folder / "name.txt").write_text(folder.name)
    (folder / "Makefile").write_text("test:\n\t@.venv/bin/python $(ARGS)\n")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", folder.name]):
        subprocess.run([*git, *arguments], check=True)
    return folder


def test_a_checkout_needs_its_own_python_and_no_change_that_is_not_committed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no .venv/bin/python"):
        Checkout.at(tmp_path)
    folder = checkout(tmp_path / "a", python="#!/bin/sh\n")
    assert Checkout.at(folder).commit
    (folder / "name.txt").write_text("changed")
    with pytest.raises(ValueError, match="-dirty; commit first"):
        Checkout.at(folder)


def test_a_checkout_runs_without_the_settings_and_the_imports_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "COMEM_ROOT", "PREFECT_HOME"):
        monkeypatch.setenv(name, "/of/this/process")
    there = Checkout.at(checkout(tmp_path / "a", python="#!/bin/sh\nenv\n"))
    said = there.run([str(there.folder / ".venv/bin/python")], cwd=tmp_path, COMEM_RECIPE="named").splitlines()
    assert not [line for line in said if "/of/this/process" in line] and "COMEM_RECIPE=named" in said


def test_conditions_and_scores_are_read_from_what_a_demo_prints() -> None:
    table = _write_scores(
        [SCORE | {"condition": "memory", "value": 0.8087}, SCORE | {"condition": "none", "value": 0}],
        ConditionWords([{"name": "none"}, {"name": "memory"}]),
    )
    assert shown_scores("\n".join(["took long", *table, "", "report page: x"])).splitlines() == [
        f"none all {write_percent(0)}",
        f"memory all {write_percent(0.8087)}",
    ]
    with pytest.raises(ValueError, match="no table of scores"):
        shown_scores("it ended")


def test_the_scores_of_several_encoders_name_them() -> None:
    words = ConditionWords([{"name": "none"}, {"name": "memory"}])
    rows = [SCORE | {"condition": "memory", "value": 0.5, "encoder_name": name} for name in ("latest", "tiny-encoder")]
    heading, _, *lines = _write_scores(rows, words)
    assert heading.split()[:2] == ["encoder", "benchmark"]
    assert [line.split()[0] for line in lines] == ["latest", "tiny-encoder"]
    assert _write_scores(rows[:1], words)[0].startswith("benchmark")


SUITE = """#!/bin/sh
case "$*" in *--collect-only*) printf '{listed}\\n2 tests collected\\n'; exit ;; esac
sleep {seconds}
for each in "$@"; do
  case "$each" in @*) echo "== $(tr '\\n' ' ' < "${{each#@}}") passed in 1 s ==" ;; esac
done
"""


def suite(*listed: str, seconds: float) -> str:
    return SUITE.format(listed="\\n".join(listed), seconds=seconds)


def test_the_row_holds_the_ratio_and_both_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The tests that both have are timed, wherever their files are; those that one lacks are not."""
    slow = checkout(tmp_path / "slow", python=suite("tests/a.py::test_old[1-2]", "tests/a.py::test_gone", seconds=2))
    quick = checkout(
        tmp_path / "quick", python=suite("tests/b/c.py::test_old[1-2]", "tests/a.py::test_new", seconds=0.5)
    )
    before = Checkout.at(quick).commit
    monkeypatch.chdir(quick)
    assert main(["--against", str(slow), "--only", "suite"]) == 0
    [row] = json.loads((quick / "docs/results/speed.json").read_text())
    assert row["measure"] == "suite_ratio" and 0.1 < row["value"] < 0.9
    assert row["commit"] == before and Checkout.at(slow).commit in row["unit"]
    said = capfd.readouterr().out
    assert "tests/a.py::test_old[1-2] passed" in said and "tests/b/c.py::test_old[1-2] passed" in said
    assert "test_gone" not in said and "test_new" not in said


def test_two_suites_without_a_test_in_common_have_no_ratio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other, this = (checkout(tmp_path / name, python=suite(f"tests/a.py::test_{name}", seconds=0)) for name in "ab")
    monkeypatch.chdir(this)
    assert main(["--against", str(other), "--only", "suite"]) == 2
    assert "no test is in both checkouts" in capsys.readouterr().err


def test_training_steps_of_both_are_compared_by_their_median(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {"before": "[2.0, 9.0, 2.0]", "now": "[1.0, 1.0, 7.0]"}
    before, now = (
        checkout(tmp_path / name, python=f"#!/bin/sh\necho loading\necho '{each}'\n") for name, each in steps.items()
    )
    monkeypatch.chdir(now)
    assert main(["--against", str(before), "--only", "training", "--rounds", "2"]) == 0
    rows = json.loads((now / "docs/results/speed.json").read_text())
    assert [(row["measure"], row["value"]) for row in rows] == [
        ("train_vs_earlier/tiny", 2.0),
        ("train_vs_earlier/117m", 2.0),
    ]
    assert all(Checkout.at(before).commit in row["unit"] for row in rows)


SMOL = """#!/bin/sh
printf '%s\\n' {lines} > "$3/steps.jsonl"
"""


def step(seconds: float, samples: int, **named: str) -> str:
    return "'" + json.dumps(named | {"samples": samples, "seconds": seconds}) + "'"


def test_passages_an_hour_are_compared_by_stage_and_over_the_whole_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of the older checkout is 8 passages in a second; the first steps of a stage are not counted."""
    before = checkout(tmp_path / "before", python=SMOL.format(lines=" ".join([step(50.0, 8)] * 4 + [step(1.0, 8)] * 3)))
    stages = [step(8.0, 256, stage="reading")]
    for stage, size, seconds in (("naming", 32, 0.4), ("answering", 16, 1.0)):
        stages += [step(90.0, size, stage=stage)] * 4 + [step(seconds, size, stage=stage)] * 3
    now = checkout(tmp_path / "now", python=SMOL.format(lines=" ".join(stages)))
    (now / "comem_core/pretraining").mkdir(parents=True)
    (now / "comem_core/pretraining/stored_readings.py").write_text("")
    subprocess.run(["git", "-C", str(now), "add", "."], check=True)
    commit = ["git", "-C", str(now), "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "b"]
    subprocess.run(commit, check=True)
    monkeypatch.chdir(now)
    assert main(["--against", str(before), "--only", "smol"]) == 0
    rows = {row["measure"]: row["value"] for row in json.loads((now / "docs/results/smol.json").read_text())}
    assert rows["smol_samples_per_hour_ratio/naming"] == 10.0
    assert rows["smol_samples_per_hour_ratio/answering"] == 2.0
    naming, answering = (each.optimizer for each in NamingRecipe().stages)
    seconds = NamingRecipe().num_passages / 32 + naming.num_steps * 0.4 + answering.num_steps * 1.0
    passages = naming.num_steps * 32 + answering.num_steps * 16
    assert rows["smol_samples_per_hour_ratio/whole"] == pytest.approx(passages / seconds / 8, abs=0.01)


def test_training_steps_take_the_time_that_they_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "NUM_STEPS", {commits.TINY: 2})
    commits.main(commits.TINY)
    [seconds] = json.loads(capsys.readouterr().out)
    assert 0 < seconds < 60
