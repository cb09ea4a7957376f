"""The whole story on the shipped model, small: every stage real, then the same again."""

from pathlib import Path

import duckdb
import pytest

from flows.options import Writing
from flows.synth_and_train import synth_and_train

LIMIT = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prefect_server: None, small_ray: None) -> Path:
    """A folder of its own, and in it one finished run."""
    root = tmp_path_factory.mktemp("story")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        patch.setenv("COMEM_ROWS_PER_SHARD", "32")
        synth_and_train(limit=LIMIT, writing=Writing(ask_about=1))
        synth_and_train(limit=LIMIT, writing=Writing(ask_about=1))
    return root / ".comem"


def _rows(place: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_every_condition_is_scored_on_the_same_questions(place: Path) -> None:
    query = "SELECT condition, count(*), count(DISTINCT question_id) FROM prediction GROUP BY 1 ORDER BY 1"
    found = _rows(place, query)
    assert found == [(name, LIMIT, LIMIT) for name in ("empty", "memory", "none", "shuffled", "text")]


def test_a_second_run_reuses_every_stage_but_the_report(place: Path) -> None:
    runs = _rows(place, "SELECT run_id FROM run ORDER BY started")
    assert len(runs) == 2
    second = dict(_rows(place, f"SELECT stage, action FROM run_stage WHERE run_id = '{runs[1][0]}'"))
    assert second.pop("report") == "made"
    assert set(second.values()) == {"reused"}
    assert "encoder" in second and "predictions" in second


def test_drafts_are_kept_or_dropped_with_a_reason(place: Path) -> None:
    drafts, dropped, kept = _rows(
        place,
        """SELECT (SELECT count(*) FROM draft),
                  (SELECT count(DISTINCT sample_id) FROM drop),
                  (SELECT count(*) FROM sample)""",
    )[0]
    assert drafts == dropped + kept
    assert kept > 0


def test_the_vlm_asks_only_about_items_without_a_seed_and_never_what_the_benchmark_asks(place: Path) -> None:
    items = "SELECT gold_item_id FROM question WHERE origin = '{}' AND gold_item_id IS NOT NULL"
    asked, seeds = (set(_rows(place, items.format(origin))) for origin in ("asked", "seed"))
    assert asked and seeds and not asked & seeds
    facts = "SELECT entity_id, attribute FROM question WHERE entity_id IS NOT NULL AND attribute IS NOT NULL AND "
    posed = set(_rows(place, f"{facts} origin = 'asked'"))
    held = set(_rows(place, f"{facts} split IN ('unseen_entity', 'unseen_question')"))
    assert posed and held and not posed & held


def test_memory_replaces_prompt_tokens(place: Path) -> None:
    found = dict(_rows(place, "SELECT condition, (avg(prompt_tokens), avg(memory_vectors)) FROM prediction GROUP BY 1"))
    assert found["memory"][1] == 24 and found["text"][1] == 0
    assert found["memory"][0] == found["none"][0] < found["text"][0] / 3


def test_a_page_is_written_for_each_run(place: Path) -> None:
    pages = list((place / "store" / "report").glob("*/report.html"))
    assert len(pages) == 2
    assert "countries-vqa" in pages[0].read_text(encoding="utf-8")
