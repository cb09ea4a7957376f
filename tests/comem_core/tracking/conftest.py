"""A training to track, and each tracker where its library is installed, set up without a server."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comem_core.tracking.choosing import PACKAGES, TrackedTraining, TrackerName, is_installed

SETTINGS = {"MLFLOW_TRACKING_URI": "sqlite:///{folder}/mlflow.db", "WANDB_MODE": "offline"}


@pytest.fixture
def make_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[TrackerName], TrackedTraining]]:
    """Return a function that names a training for a tracker; it skips the test where the library is missing."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path))
    for name in ("WANDB_DIR", "WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)

    def make(tracker: TrackerName) -> TrackedTraining:
        if not is_installed(tracker):
            pytest.skip(f"{PACKAGES[tracker]} is not installed; `pip install -c constraints.txt {PACKAGES[tracker]}`")
        return TrackedTraining(
            tracker=tracker,
            folder=tmp_path / "tracking",
            stage="encoder",
            fingerprint="0123456789abcdef",
            run_id="6f1cb2ae-8f5e-4e5c-9a44-6d5d3f9d9f10",
            recipe_name="tiny_cpu",
            parameters={"training": {"optimizer": {"learning_rate": 5e-05}}, "words": "a|b", "start": None},
        )

    yield make
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()  # it reads the environment once
