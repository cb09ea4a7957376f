"""What a tracker lacks is told before a run begins, with what to install or to set."""

import sys
from pathlib import Path

import pytest

from comem_core.tracking import choosing
from comem_core.tracking.choosing import (
    PACKAGES,
    TrackedTraining,
    TrackerName,
    choose_variables,
    find_tracker_faults,
    flatten,
    is_installed,
)


@pytest.fixture
def all_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "is_installed", lambda tracker: True)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_library_that_is_missing_is_named_with_its_command(
    name: TrackerName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    [fault] = find_tracker_faults(name, {})
    assert f"COMEM_TRACKER={name} needs the package {PACKAGES[name]}, which is not installed here" in fault
    assert f".venv/bin/pip install -c constraints.txt {PACKAGES[name]}" in fault


def test_a_folder_of_the_library_s_name_is_not_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()  # wandb leaves one where it is used
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert not is_installed("wandb")


@pytest.mark.usefixtures("all_installed")
@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("", "needs an address in MLFLOW_TRACKING_URI, such as http://host:5000"),
        ("./mlruns", "'./mlruns', a folder, which MLflow refuses"),
        ("file:///tmp/mlruns", "MLFLOW_ALLOW_FILE_STORE=true"),
    ],
)
def test_mlflow_needs_an_address_that_it_takes(address: str, fault: str) -> None:
    [found] = find_tracker_faults("mlflow", {"MLFLOW_TRACKING_URI": address})
    assert fault in found
    allowed = {"MLFLOW_TRACKING_URI": "file:///tmp/mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
    assert find_tracker_faults("mlflow", allowed) == []
    assert find_tracker_faults("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:////tmp/mlflow.db"}) == []


@pytest.mark.usefixtures("all_installed")
def test_wandb_needs_a_key_or_to_be_offline(tmp_path: Path) -> None:
    keys = tmp_path / "netrc"
    without = {"NETRC": str(keys)}
    [fault] = find_tracker_faults("wandb", without)
    assert "WANDB_API_KEY" in fault and "WANDB_MODE=offline" in fault
    for name, value in {"WANDB_MODE": "offline", "WANDB_API_KEY": "k", "WANDB_IDENTITY_TOKEN_FILE": "f"}.items():
        assert find_tracker_faults("wandb", without | {name: value}) == []
    assert find_tracker_faults("wandb", without | {"WANDB_MODE": "ofline"}) == [fault]
    keys.write_text("machine api.wandb.ai login user password key\n")
    assert find_tracker_faults("wandb", without) == []
    assert find_tracker_faults("wandb", without | {"WANDB_BASE_URL": "https://wandb.example.com"}) != []
    [fault] = find_tracker_faults("wandb", without, on_cluster=True)
    assert "in WANDB_API_KEY, and" in fault  # a worker may be on a machine without this file
    keys.write_text("nonsense")
    assert find_tracker_faults("wandb", without) != []


@pytest.mark.usefixtures("all_installed")
def test_tensorboard_needs_nothing_but_its_library() -> None:
    assert find_tracker_faults("tensorboard", {}) == []


def test_workers_elsewhere_get_the_variables_of_the_tracker_alone() -> None:
    environ = {"MLFLOW_TRACKING_URI": "http://there", "WANDB_API_KEY": "k", "PATH": "/bin"}
    assert choose_variables("mlflow", environ) == {"MLFLOW_TRACKING_URI": "http://there"}
    assert choose_variables("wandb", environ) == {"WANDB_API_KEY": "k"}
    assert choose_variables("tensorboard", environ) == choose_variables(None, environ) == {}


def test_the_name_leads_to_store_warehouse_and_prefect() -> None:
    training = TrackedTraining(tracker="mlflow", folder=Path(), stage="transfer", fingerprint="f", run_id="r")
    assert training.name == "transfer-f-r"
    assert dict(flatten({"a": {"b": {"c": 1}}, "d": [2], "e": {}})) == {"a.b.c": 1, "d": [2]}
