"""Checkpoints of a training: the last two are kept, and one that is torn or changed is never gone on from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.engine.partial import Partial
from tasks.engine.training.on_ray_train import SAID
from tasks.engine.training.train_worker import find_checkpoint, write_checkpoint


def make_state(step: int) -> dict[str, Any]:
    return {"training": {"step": step, "parameters": {"weights": torch.full((20,), step / 7)}}, "steps": [{"step": 1}]}


def write_some(folder: Path, *steps: int) -> Partial:
    partial = Partial(folder)
    for step in steps:
        write_checkpoint(partial, make_state(step))
    return partial


def read_step(partial: Partial) -> int | None:
    state = find_checkpoint(partial, is_first=True)
    return None if state is None else state["training"]["step"]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != SAID)


def test_the_last_two_checkpoints_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    assert read_step(Partial(tmp_path)) is None
    partial = write_some(tmp_path, 5, 9, 12)
    assert list_names(tmp_path) == [".checkpoint-00000009.pt", ".checkpoint-00000012.pt"]
    assert read_step(partial) == 12 and not (tmp_path / SAID).exists()


def truncate(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def empty(whole: bytes) -> bytes:
    return b""


def flip_in_weights(whole: bytes) -> bytes:
    at = whole.index(make_state(9)["training"]["parameters"]["weights"].numpy().tobytes()) + 3
    return whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


@pytest.mark.parametrize("damage", [truncate, empty, flip_in_weights])
def test_from_a_damaged_checkpoint_training_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    partial, newest = write_some(tmp_path, 5, 9), tmp_path / ".checkpoint-00000009.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    assert read_step(partial) == 5
    [line] = (tmp_path / SAID).read_text().splitlines()
    assert f"the checkpoint {newest} cannot be read" in json.loads(line)[1]
    assert list_names(tmp_path) == [".checkpoint-00000005.pt", ".checkpoint-00000009.unreadable"]
    write_some(tmp_path, 7)
    assert read_step(partial) == 7, "the damaged one must not be taken for the newest again"


def test_training_begins_again_where_no_checkpoint_can_be_read(tmp_path: Path) -> None:
    partial = write_some(tmp_path, 5, 9)
    for path in tmp_path.glob(".checkpoint-*"):
        path.write_bytes(b"nothing")
    assert read_step(partial) is None and len((tmp_path / SAID).read_text().splitlines()) == 2


def test_no_changed_byte_of_a_checkpoint_changes_a_weight(tmp_path: Path) -> None:
    partial, newest = write_some(tmp_path, 9), tmp_path / ".checkpoint-00000009.pt"
    whole, wanted, found = newest.read_bytes(), make_state(9), 0
    for at in range(len(whole)):
        newest.write_bytes(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :])
        state = find_checkpoint(partial, is_first=True)
        found += state is None
        if state is not None:
            weights = [each["training"].pop("parameters")["weights"] for each in (state, make_state(9))]
            assert torch.equal(*weights), at
            assert state == {"training": {"step": 9}, "steps": wanted["steps"]}, at
    assert found > 300
