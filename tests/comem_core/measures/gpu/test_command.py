"""`make gpu-check` at the small shape on the CPU: what it writes, refuses, skips and goes on with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from comem_core.measures.gpu import command, equality
from comem_core.measures.gpu.cards import TimeLimit
from comem_core.measures.gpu.command import FAILED, PARTS, REFUSED, STOPPED, main
from comem_core.measures.gpu.setup import Setup
from comem_core.measures.results import Measured, read_results

SMALL = ["--shape", "small", "--device", "cpu", "--seconds", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rows of a whole run."""
    folder = tmp_path_factory.mktemp("rows")
    assert main([*SMALL, "--folder", str(folder)]) == 0
    return folder


def read(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["measure"]: row for row in read_results(folder / "gpu.json")}


def test_every_part_writes_its_rows_and_how_long_it_took(folder: Path):
    rows = read(folder)
    expected = {"train_samples_per_s", "train_tokens_per_s", "train_peak_memory_gb", "train_tflop_per_step"}
    expected |= {"encode_items_per_s_340_tokens", "micro_batch_gradient_error", "micro_batch_loss_error"}
    ways = [f"{way}_k{k}" for way in ("text", "memory") for k in (1, 3)]
    expected |= {f"{moment}_token_ms_{way}" for moment in ("first", "last") for way in ways}
    expected |= {f"prepare_ms_{way}" for way in ways} | {"first_token_ratio_k1", "first_token_ratio_k3"}
    expected |= {f"answers_per_s_{way}" for way in ("memory_k1", "memory_k3", "text_k1")}
    expected |= {f"part_seconds_{part}" for part in PARTS} | {"train_tokens_at_once"}
    assert set(rows) == expected
    for row in rows.values():
        may_be_equal = row["measure"] == "micro_batch_loss_error"  # to the bit, as on a CPU without bfloat16
        assert row["value"] > 0 or (may_be_equal and row["value"] == 0)
        assert row["recipe"] == "random_small"
        assert row["machine"].startswith(f"CPU, torch {torch.__version__}, ")
        assert row["command"] == 'make gpu-check ARGS="--shape small --device cpu"'


def test_times_are_in_order_and_more_items_as_text_take_longer(folder: Path):
    values = {name: row["value"] for name, row in read(folder).items()}
    for way in ("text_k1", "memory_k1", "text_k3", "memory_k3"):
        assert values[f"first_token_ms_{way}"] < values[f"last_token_ms_{way}"]
    assert values["first_token_ms_text_k3"] > values["first_token_ms_memory_k3"]
    ratio = values["first_token_ms_text_k3"] / values["first_token_ms_memory_k3"]
    assert values["first_token_ratio_k3"] == pytest.approx(ratio, rel=0.01)


def test_the_same_command_goes_on_with_the_parts_that_are_not_finished(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = [row for row in read_results(folder / "gpu.json") if row["measure"] != "part_seconds_encode"]
    (tmp_path / "gpu.json").write_text(json.dumps(rows))
    assert main([*SMALL, "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "To measure: encode. A part begins no repeat after 0 s; in all this takes about 1 min at most." in said
    assert said.count("finished before by this commit on this machine") == len(PARTS) - 1
    assert "part_seconds_encode" in read(tmp_path)
    other = [row | {"machine": "another card"} for row in rows]
    (tmp_path / "gpu.json").write_text(json.dumps(other))
    assert command._list_finished(tmp_path / "gpu.json", _make_setup()) == []


def test_one_part_is_measured_again_and_the_other_rows_stay(folder: Path, tmp_path: Path):
    stored = [row | {"value": 1e6} for row in read_results(folder / "gpu.json")]
    (tmp_path / "gpu.json").write_text(json.dumps(stored))
    assert main([*SMALL, "--folder", str(tmp_path), "--only", "encode"]) == 0
    changed = {name for name, row in read(tmp_path).items() if row["value"] != 1e6}
    assert changed == {"encode_items_per_s_340_tokens", "part_seconds_encode"}


def test_a_tolerance_that_is_missed_fails_the_command_and_is_in_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(equality, "TOLERANCE", 1e-9)
    assert main([*SMALL, "--folder", str(tmp_path), "--only", "equality"]) == FAILED
    assert "equality: the gradient of a step in micro-batches of 500 tokens differs" in capsys.readouterr().err
    rows = read(tmp_path)
    assert rows["micro_batch_gradient_error"]["unit"].endswith("tolerance 1e-09: does not hold")
    assert "part_seconds_equality" not in rows  # so it is measured again


def test_a_part_that_breaks_off_keeps_its_rows_and_the_next_parts_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(setup: Setup, limit: TimeLimit) -> Iterator[Measured]:
        yield setup.make_row("made_before", 1.23456, "s", n=1)
        raise torch.OutOfMemoryError("the card is full")

    def stop(setup: Setup, limit: TimeLimit) -> Iterator[Measured]:
        yield setup.make_row("made_after", 1, "s", n=1)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "PARTS", {"train": ("fails", fail), "encode": ("is interrupted", stop)})
    monkeypatch.setattr(command, "_prepare", lambda setup: None)
    assert main([*SMALL, "--folder", str(tmp_path)]) == STOPPED
    assert "the same command goes on" in capsys.readouterr().err
    assert {name: row["value"] for name, row in read(tmp_path).items()} == {"made_before": 1.235, "made_after": 1}
    assert main([*SMALL, "--folder", str(tmp_path), "--only", "train"]) == FAILED
    assert "train was not finished: OutOfMemoryError: the card is full" in capsys.readouterr().err


def test_rows_of_a_small_shape_are_kept_apart_from_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, "--only", "encode"]) == 0
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")] == ["build/gpu-check/gpu.json"]


def test_what_cannot_be_measured_is_refused_before_anything_is_made(capsys: pytest.CaptureFixture[str]):
    assert main(["--device", "cpu"]) == REFUSED
    assert "gpu-check cannot start: the CPU would take hours" in capsys.readouterr().err
    with pytest.raises(SystemExit) as refused:
        main(["--only", "everything"])
    assert refused.value.code == REFUSED


def _make_setup() -> Setup:
    return Setup(workload=command.WORKLOADS["small"], device=torch.device("cpu"), command="make gpu-check")
