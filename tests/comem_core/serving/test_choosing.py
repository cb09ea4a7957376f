"""Which records of a store are opened together: here, the training set of an encoder."""

import json
from pathlib import Path

import pytest

from comem_core.serving.choosing import _find_training_set
from comem_core.serving.layout import ENCODER_STAGE, RECORD, TRAINING_SET_STAGE, Record
from comem_core.serving.stored_artefacts import StoredArtefacts


def write_record(store: Path, stage: str, fingerprint: str, created: str, **inputs: str) -> Record:
    record: Record = {
        "fingerprint": fingerprint, "stage": stage, "version": "1", "recipe": {}, "inputs": inputs, "uri": "",
        "num_rows": 0, "num_bytes": 0, "shards": [], "content_sha256": "", "seconds": 0.0, "measured": {},
        "commit": None, "created": created,
    }  # fmt: skip
    folder = store / stage / fingerprint
    folder.mkdir(parents=True)
    (folder / RECORD).write_text(json.dumps(record))
    return record


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two filterings, a stage that leaves out some of the second's samples, and the training set of each filtering."""
    folder = tmp_path / "store"
    for name in ("one", "two"):
        write_record(folder, "samples", name, "1", drafts="drafted")
        write_record(folder, TRAINING_SET_STAGE, f"set-{name}", "3", questions="asked", drafts="drafted", kept=name)
    write_record(folder, "thinned", "half", "2", kept="one")
    return folder


@pytest.mark.parametrize(
    ("kept", "found"), [("one", "set-one"), ("two", "set-two"), ("half", "set-one"), ("elsewhere", None)]
)
def test_a_training_set_is_that_of_the_filtering_trained_on_also_if_a_stage_left_some_out(
    store: Path, kept: str, found: str | None
) -> None:
    encoder = write_record(store, ENCODER_STAGE, "trained", "4", questions="asked", drafts="drafted", kept=kept)
    chosen = _find_training_set(StoredArtefacts(store), encoder)
    assert (chosen and chosen["fingerprint"]) == found


def test_an_encoder_that_was_trained_on_no_samples_has_no_training_set(store: Path) -> None:
    encoder = write_record(store, ENCODER_STAGE, "trained", "4", backbone="tiny")
    assert _find_training_set(StoredArtefacts(store), encoder) is None
