"""Withdrawing is said truly, can be tried, done again and taken back, and empties pictures on pages that compare."""

import json
from pathlib import Path

import filelock
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.items import KnowledgeItem
from comem_core.knowledge.withdrawn import find_shown, read_withdrawals
from comem_core.worlds.countries.world import load_knowledge_items
from tasks.data.ingest import ingest_knowledge
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.rows.tables import read_items
from tasks.run import Run
from tasks.upkeep.fsck import find_faults
from tasks.upkeep.withdraw import main, withdraw_items
from tests.tasks.data.test_ingest import run_on
from tests.tasks.upkeep.test_garbage import Name
from warehouse.page.pictures import EMPTY, make_data_uri

ROW = {"image": "good.png", "language": "en", "source": "test", "licence": "CC0-1.0"}
COMPARISON = Stage(name="comparison", version="2")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two items that show one picture."""
    (tmp_path / "good.png").write_bytes(load_knowledge_items()[0].picture)
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(json.dumps(ROW | {"text": text}) for text in ("Country: Andorra.", "Currency: Euro.")))
    return path


@pytest.fixture
def ingested(corpus: Path, context: Context, monkeypatch: pytest.MonkeyPatch) -> Context:
    """The items in a store, and a page of their picture."""
    monkeypatch.setenv("COMEM_ROOT", str(context.root))
    monkeypatch.setenv("COMEM_STORE", str(context.store))
    monkeypatch.setenv("COMEM_WAREHOUSE", str(context.warehouse))
    run = run_on(corpus, context)
    uri = make_data_uri(find_item(context, run).picture)

    def make(artefact: Partial) -> None:
        with artefact.open_file("page.html") as path:
            path.write_text(f'<img src="{uri}"> and <img src="{uri}">')

    run_stage(run, COMPARISON, Name(name="x"), {}, make)
    return context


def find_item(context: Context, run: Run) -> KnowledgeItem:
    return next(iter(read_items(ingest_knowledge.fn(run)).values()))


def read_page(context: Context) -> str:
    [path] = context.store.glob("comparison/*/page.html")
    return path.read_text()


def test_pictures_on_pages_that_compare_are_emptied_once_no_other_item_shows_them(
    ingested: Context,
    corpus: Path,
) -> None:
    items = read_items(ingest_knowledge.fn(run_on(corpus, ingested)))
    first, second = items
    assert withdraw_items(ingested, "item", [first])[1] == 0
    assert EMPTY not in read_page(ingested)
    assert withdraw_items(ingested, "item", [second])[1] == 1
    assert read_page(ingested) == f'<img src="{EMPTY}"> and <img src="{EMPTY}">'
    assert list(find_faults(ingested)) == []


@pytest.mark.parametrize("arguments", [["--dry-run"], ["--reason", "x"], ["--undo", "abcd", "--dry-run"]])
def test_what_would_be_ignored_is_refused(
    ingested: Context, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "--dry-run and --reason go with one of --item" in capsys.readouterr().err


def test_a_withdrawal_is_tried_done_twice_and_taken_back(
    ingested: Context,
    corpus: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    item_id = find_item(ingested, run_on(corpus, ingested)).item_id
    assert main(["--item", item_id, "--dry-run"]) == 0 and read_withdrawals(ingested.store) == []
    assert main(["--item", item_id, item_id, "--reason", "two\nlines"]) == 0
    [first] = read_withdrawals(ingested.store)
    assert (first.values, first.reason) == ((item_id,), "two lines")
    assert main(["--item", item_id]) == 0 and read_withdrawals(ingested.store) == [first]
    assert main(["--undo", first.name[:3]]) == 2 and "first 4 letters" in capsys.readouterr().err
    assert main(["--undo", first.name[:4]]) == 0 and read_withdrawals(ingested.store) == []


def test_one_whose_pages_cannot_be_written_says_that_it_is_in_force(
    ingested: Context,
    corpus: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item_id = find_item(ingested, run_on(corpus, ingested)).item_id
    monkeypatch.setenv("COMEM_LOCK_WAIT_SECONDS", "1")
    withdraw_items(ingested, "item", [list(read_items(ingest_knowledge.fn(run_on(corpus, ingested))))[1]])
    [page] = ingested.store.glob("comparison/*/page.html")
    with filelock.FileLock(page.parent.with_suffix(".lock")):
        assert main(["--item", item_id]) == 2
    assert "all but the pages of runs is done" in capsys.readouterr().err
    assert item_id in {each for found in read_withdrawals(ingested.store) for each in found.item_ids}


def test_a_damaged_withdrawal_is_found_by_fsck(ingested: Context) -> None:
    (ingested.store / ".withdrawn").mkdir()
    (ingested.store / ".withdrawn" / "README").write_text("notes are no withdrawals")
    assert list(find_faults(ingested)) == []
    (ingested.store / ".withdrawn" / "a.json").write_text("{")
    [fault] = find_faults(ingested)
    assert "a.json cannot be read" in str(fault)


def test_a_training_set_tells_which_withdrawn_items_it_shows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_ids": [["a", "b"], [], ["c"]]}), tmp_path / "train-00000.parquet")
    assert find_shown(tmp_path, {"c", "a", "x"}) == ["a", "c"] and find_shown(tmp_path, {"x"}) == []
