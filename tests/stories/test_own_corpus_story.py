"""A folder of one's own, no question given: items, questions, a training set with its card, an encoder, a score."""

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from comem_core.evaluation.benchmarks.own import NAME, SPLIT
from flows.options import Knowledge, Writing
from flows.synth_and_train import synth_and_train
from tests.stories.conftest import FAULTS, NUM_ITEMS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, own_folder: Path, prefect_server: None, small_ray: None) -> Path:
    root = tmp_path_factory.mktemp("own-story")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        knowledge = Knowledge(corpus=str(own_folder), licence="ODbL-1.0")
        synth_and_train(knowledge=knowledge, writing=Writing(ask_about=12), limit=2)
    return root / ".comem"


def _rows(place: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_good_files_are_items_and_bad_ones_are_listed_with_their_reason(place: Path) -> None:
    assert _rows(place, "SELECT count(*), count(DISTINCT language) FROM knowledge_item") == [(NUM_ITEMS, 5)]
    assert dict(_rows(place, "SELECT file, reason FROM dropped_row")) == FAULTS


def test_every_question_is_the_models_own_and_the_funnel_adds_up(place: Path) -> None:
    assert _rows(place, "SELECT DISTINCT origin FROM question") == [("asked",)]
    [(drafts, dropped, kept)] = _rows(
        place,
        """SELECT (SELECT count(*) FROM draft),
                  (SELECT count(DISTINCT sample_id) FROM drop),
                  (SELECT count(*) FROM sample)""",
    )
    assert drafts == dropped + kept and kept > 0


def test_what_is_set_aside_is_asked_and_never_trained_on(place: Path) -> None:
    held = {each for (each,) in _rows(place, "SELECT sample_id FROM drop WHERE reason = 'held_out'")}
    assert held and not held & {each for (each,) in _rows(place, "SELECT sample_id FROM sample")}
    asked = _rows(place, "SELECT benchmark, split, count(DISTINCT question_id) FROM prediction GROUP BY ALL")
    assert asked == [(NAME, SPLIT, min(len(held), 2))]
    gold = "SELECT DISTINCT len(answers) FROM question SEMI JOIN prediction USING (question_id)"
    assert _rows(place, gold) == [(1,)]  # the page tells the right answer: no other question has the same id
    about = "SELECT gold_item_id FROM draft JOIN question USING (question_id) WHERE gold_item_id IS NOT NULL AND "
    set_aside = set(_rows(place, f"{about} sample_id IN (SELECT sample_id FROM drop WHERE reason = 'held_out')"))
    trained = set(_rows(place, f"{about} sample_id IN (SELECT sample_id FROM sample)"))
    assert set_aside and trained and not set_aside & trained


def test_the_training_set_is_a_folder_with_a_card_that_counts_its_rows(place: Path) -> None:
    [folder] = (path for path in (place / "store" / "training-set").iterdir() if path.is_dir())
    rows = pq.read_table(folder / "train-00000.parquet")
    [(kept,)] = _rows(place, "SELECT count(*) FROM sample")
    assert rows.num_rows == kept
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{kept} samples for training a memory encoder" in card
    assert 'license_name: "ODbL-1.0"' in card and "| held_out |" in card
