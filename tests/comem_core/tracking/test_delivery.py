"""A tracker that fails or is slow neither ends nor delays a training; what it did not take it gets later."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.tracking import delivery as module
from comem_core.tracking.choosing import TrackedTraining, TrackerName
from comem_core.tracking.delivery import deliver_steps
from comem_core.tracking.trackers import Outcome, Row, Tracker
from tests.comem_core.tracking.reading import read_losses

Make = Callable[[TrackerName], TrackedTraining]


def test_a_tracker_that_comes_back_gets_every_step_and_the_fault_is_told_once(
    make_training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEND_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(module, "TRY_AGAIN_SECONDS", 0.05)
    training, said = make_training("tensorboard"), []
    training.folder.write_text("a file where the folder should be")
    with deliver_steps(training, lambda level, line: said.append(line)) as delivery:
        for step in range(1, 9):
            delivery.add(step, {"loss": float(step)})
            if step == 4:
                given_up = time.monotonic() + 20
                while not said and time.monotonic() < given_up:
                    time.sleep(0.05)
                time.sleep(0.5)  # it is tried again meanwhile
                training.folder.unlink()
        delivery.outcome = "finished"
    assert "tensorboard does not take the steps of this training (NotADirectoryError: " in said[0]
    assert "the steps of this training are tracked" in said[1] and len(said) == 2
    assert read_losses(training) == [(step, float(step)) for step in range(1, 9)]


def test_a_tracker_that_keeps_failing_is_closed_before_it_is_opened_again(
    make_training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    closed: list[str] = []

    class FullDisk(Tracker):
        where = "nowhere"

        def __init__(self, training: TrackedTraining) -> None:
            opened.append(len(opened) - len(closed))

        def write(self, rows: Sequence[Row]) -> None:
            raise OSError("no space left")

        def close(self, outcome: Outcome) -> None:
            closed.append(outcome)
            raise OSError("no space left")

    monkeypatch.setattr(module, "SEND_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(module, "TRY_AGAIN_SECONDS", 0.02)
    monkeypatch.setitem(vars(module)["TRACKERS"], "tensorboard", FullDisk)
    said: list[str] = []
    with deliver_steps(make_training("tensorboard"), lambda level, line: said.append(line)) as delivery:
        delivery.add(1, {"loss": 1.0})
        given_up = time.monotonic() + 20
        while len(opened) < 4 and time.monotonic() < given_up:
            time.sleep(0.02)
        delivery.outcome = "finished"
    assert len(opened) >= 4 and set(opened) == {0}  # none was open whenever another one was opened
    assert closed == ["interrupted"] * len(opened)
    assert len([line for line in said if "does not take the steps" in line]) == 1


def test_a_server_that_is_gone_is_told_with_the_number_of_steps_it_lacks(
    make_training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, said = make_training("mlflow"), []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    started = time.monotonic()
    with deliver_steps(training, lambda level, line: said.append(line)) as delivery:
        for step in range(1, 4):
            delivery.add(step, {"loss": float(step)})
        handed_over = time.monotonic() - started
    assert handed_over < 0.1
    assert len(said) == 2 and "mlflow does not take the steps" in said[0], said
    assert said[1] == "mlflow was not given the last 3 steps of the training"


def test_without_a_key_wandb_asks_nothing_and_training_goes_on(
    make_training: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run is refused before it begins (`test_choosing.py`); a key file may still go while it runs."""
    training, said = make_training("wandb"), []
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "nothing"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with deliver_steps(training, lambda level, line: said.append(line)) as delivery:
        delivery.add(1, {"loss": 1.0})
    assert "No API key configured" in said[0] and len(said) == 2


def test_without_a_tracker_nothing_is_started_or_written(make_training: Make, tmp_path: Path) -> None:
    with deliver_steps(None, print) as delivery:
        delivery.add(1, {"loss": 1.0})
        delivery.outcome = "finished"
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_raises_has_failed_in_its_tracker(make_training: Make) -> None:
    training = replace(make_training("mlflow"), run_id="r")
    with pytest.raises(ArithmeticError), deliver_steps(training, print) as delivery:
        delivery.add(1, {"loss": 1.0})
        raise ArithmeticError
    from tests.comem_core.tracking.reading import find_mlflow_run

    assert find_mlflow_run().info.status == "FAILED"
