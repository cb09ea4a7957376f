"""Commands in a folder where no run has been say in one line what is missing and what to run first."""

from collections.abc import Callable
from pathlib import Path

import pytest

import comem_core as comem
from comem_core.serving.http.__main__ import main as serve_memory
from flows.local.comparing import compare_runs
from flows.local.recording import record
from tasks.engine.context import Context
from tasks.evaluation.export import main as export
from warehouse.connection import open_warehouse


@pytest.fixture(params=["missing", "empty"])
def fresh(request: pytest.FixtureRequest, context: Context) -> Context:
    """A context with nothing in it, or with a store and a warehouse that hold nothing."""
    if request.param == "empty":
        context.store.mkdir()
        with open_warehouse(context.warehouse):
            pass
    return context


def assert_says_what_to_do(said: str) -> None:
    assert "\n" not in said.strip() and "run synth-and-train" in said.lower()


READING: dict[str, Callable[[Context], object]] = {
    "compare": lambda context: compare_runs(context, "before", "now", context.root / "pages"),
    "open": lambda context: comem.open(context.store),
}


@pytest.mark.parametrize("command", READING)
def test_a_library_call_is_refused(fresh: Context, command: str) -> None:
    with pytest.raises(ValueError) as refused:
        READING[command](fresh)
    assert_says_what_to_do(str(refused.value))


def test_recording_asks_for_a_demo(fresh: Context) -> None:
    with pytest.raises(ValueError, match=r"run (synth-and-train first \()?`make demo`") as refused:
        record(fresh, fresh.root, seconds=1.0, peak_memory_gb=1.0)
    assert "\n" not in str(refused.value)


def test_answers_cannot_be_exported(
    fresh: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMEM_WAREHOUSE", str(fresh.warehouse))
    output = fresh.root / "out"
    assert export(["--benchmark", "okvqa", "--condition", "memory", "--output", str(output)]) == 2
    assert_says_what_to_do(capsys.readouterr().err)
    assert not output.exists()


@pytest.mark.parametrize("place", [".", "store"])
def test_a_memory_cannot_be_served(fresh: Context, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve_memory([str(fresh.root / place), "--port", "0"]) == 2
    [said] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert_says_what_to_do(said)


def test_a_folder_without_a_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found nothing. Run synth-and-train first"):
        comem.open(tmp_path)
