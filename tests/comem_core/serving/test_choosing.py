"""Which records of a store are opened together: here, the training set of an encoder."""

import json
from pathlib import Path

import pytest

from comem_core.addresses.beside import write_beside
from comem_core.serving.choosing import _find_training_set, choose
from comem_core.serving.layout import (
    BANK_STAGE,
    ENCODER_STAGE,
    INDEX_STAGE,
    KNOWLEDGE_STAGE,
    RECORD,
    TRAINING_SET_STAGE,
    USED,
    Record,
)
from comem_core.serving.stored_artefacts import StoredArtefacts


def write_record(
    store: Path, stage: str, fingerprint: str, created: str, recipe: dict[str, str | None] | None = None, **inputs: str
) -> Record:
    record: Record = {
        "fingerprint": fingerprint, "stage": stage, "version": "1", "recipe": recipe or {}, "inputs": inputs, "uri": "",
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


def write_bank(store: Path, state: str, created: str, **corpus: str | None) -> None:
    """Write the items, the bank and the index of a state of a corpus."""
    write_record(store, KNOWLEDGE_STAGE, f"items-{state}", created, {"content": state, **corpus})
    write_record(store, BANK_STAGE, f"bank-{state}", created, encoder="e", backbone="b", knowledge=f"items-{state}")
    write_record(store, INDEX_STAGE, f"index-{state}", created, backbone="b", knowledge=f"items-{state}")


def test_documents_that_were_brought_back_are_the_latest_state_of_their_corpus_and_of_no_other(tmp_path: Path) -> None:
    write_record(tmp_path, ENCODER_STAGE, "e", "2026-01-01")
    write_bank(tmp_path, "other", "2026-01-02", corpus="b")
    write_bank(tmp_path, "whole", "2026-01-03", corpus="a")  # as an earlier version wrote it
    write_bank(tmp_path, "removed", "2026-01-04", corpus="a", withdrawn=None)
    write_bank(tmp_path, "withdrawn", "2026-01-05", corpus="a", withdrawn="1 items, 0123")

    def find_bank() -> str:
        return choose(StoredArtefacts(tmp_path)).bank["fingerprint"]

    assert find_bank() == "bank-withdrawn"
    write_beside(tmp_path, USED, "bank-other", b"2026-01-09")
    assert find_bank() == "bank-withdrawn"
    for state, day in (("removed", "06"), ("whole", "07"), ("withdrawn", "08")):
        write_beside(tmp_path, USED, f"bank-{state}", f"2026-01-{day}".encode())
        assert find_bank() == f"bank-{state}"
    write_bank(tmp_path, "newest", "2026-01-10", corpus="a")
    assert find_bank() == "bank-newest"
