"""The whole story on the shipped model, small: every stage real, then the same again."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import LogSort

import comem_core as comem
from comem_core.backbone.finding import SHIPPED
from comem_core.knowledge.withdrawn import read_withdrawals
from flows.local.results import NUM_EXAMPLES, describe_results, has_completed
from flows.options import Knowledge, Writing
from flows.re_evaluate import re_evaluate
from flows.rebuild_memory import rebuild_memory
from flows.synth_and_train import synth_and_train
from tasks.engine.context import Context
from tasks.engine.store import Reference
from tasks.upkeep.fsck import find_faults
from tasks.upkeep.garbage import find_garbage, remove_garbage
from tasks.upkeep.withdraw import main as withdraw
from tests.lineage_server import LineageServer, open_lineage_server
from warehouse.connection import open_warehouse
from warehouse.lineage import trace_upward
from warehouse.records import find_artefact

LIMIT = 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def pages_url(root: Path, serve_folder: Callable[[Path], str]) -> str:
    """Where the pages of the store are served."""
    return serve_folder(root / ".comem" / "store")


@pytest.fixture(scope="module")
def lineage() -> Iterator[LineageServer]:
    with open_lineage_server() as server:
        yield server


@pytest.fixture(scope="module")
def place(root: Path, pages_url: str, lineage: LineageServer, prefect_server: None, small_ray: None) -> Path:
    """A folder of its own, and in it one finished run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        patch.setenv("COMEM_ROWS_PER_SHARD", "32")
        patch.setenv("COMEM_PAGES_URL", pages_url)
        patch.setenv("OPENLINEAGE_URL", lineage.url)
        synth_and_train(limit=LIMIT, writing=Writing(ask_about=1))
        killed = root / ".comem" / "store" / "report" / "0123456789abcdef.partial"
        killed.mkdir()
        (killed / "report.html").write_text("a run was killed after this")
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
    assert found["memory"][1] == 48 and found["text"][1] == 0
    assert found["memory"][0] == found["none"][0] < found["text"][0] / 3


def test_a_page_is_written_for_each_run(place: Path) -> None:
    pages = list((place / "store" / "report").glob("*/report.html"))
    assert len(pages) == 2
    assert "countries-vqa" in pages[0].read_text(encoding="utf-8")


def test_a_page_that_a_killed_run_had_begun_goes_with_the_next_page(place: Path) -> None:
    assert list((place / "store").rglob("*.partial")) == []


def test_the_lineage_of_each_run_is_written_and_sent(place: Path, lineage: LineageServer) -> None:
    written = [
        json.loads(line)
        for path in (place / "store" / "report").glob("*/openlineage.jsonl")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    sent = {json.dumps([each["eventType"], each["run"]["runId"]]): each for each in lineage.events}
    for event in written:
        found = sent[json.dumps([event["eventType"], event["run"]["runId"]])]
        assert (found["job"]["name"], found["inputs"]) == (event["job"]["name"], event["inputs"])
    ends = [
        each for each in lineage.events if each["job"]["name"] == "synth-and-train" and each["eventType"] != "START"
    ]
    assert [each["eventType"] for each in ends] == ["COMPLETE", "COMPLETE"]
    models = {
        each["name"]
        for event in written
        for each in event["outputs"]
        if each["facets"]["datasetType"]["datasetType"] == "MODEL"
    }
    assert {name.split("/")[0] for name in models} == {"encoder"}
    metrics = (place / "warehouse.prom").read_text(encoding="utf-8")
    assert 'comem_runs{flow="synth-and-train",recipe="tiny_cpu",status="completed"} 2.0' in metrics


def test_what_the_run_left_opens_and_shows_and_answers_what_the_run_did(place: Path) -> None:
    memory = comem.open(place)
    asked = _rows(
        place,
        """SELECT question_id, question, language, answer_raw, item_ids FROM question
           JOIN (SELECT prediction_id, question_id, answer_raw FROM prediction WHERE condition = 'memory')
           USING (question_id) JOIN (SELECT prediction_id, list(item_id ORDER BY place) AS item_ids
           FROM prediction_item GROUP BY 1) USING (prediction_id)""",
    )
    assert len({row[0] for row in asked}) == LIMIT
    pictures = {each.question_id: each.image for each in comem.load_benchmark_questions("test")}
    for question_id, question, language, said, item_ids in asked:
        answer = memory.ask(pictures[question_id], question, language=language, max_new_tokens=24)
        assert [item.item_id for item in answer.items] == item_ids
        assert answer.text == said


def test_what_programs_open_stays_however_little_is_kept(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / ".comem")
    context = Context.from_environment({"COMEM_ROOT": str(tmp_path)})
    opened = comem.open(place).made_from
    garbage = find_garbage(context, keep_runs=0, keep_days=0)
    assert {"report", "predictions", "scores"} <= {each.stage for each in garbage}
    assert all(done for _, done in remove_garbage(context, garbage))
    left = comem.open(tmp_path / ".comem")
    assert {stage: record["fingerprint"] for stage, record in left.made_from.items()} == {
        stage: record["fingerprint"] for stage, record in opened.items()
    }
    with open_warehouse(context.warehouse, read_only=True) as con:
        edges = trace_upward(con, *(record["fingerprint"] for record in opened.values()))
        assert all(find_artefact(con, each.fingerprint) is not None for each in edges)


def test_what_is_withdrawn_is_forgotten_at_once_by_memory_page_and_next_run(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place, tmp_path / ".comem")
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    [(item_id, text, question_id)] = _rows(
        tmp_path / ".comem",
        "SELECT item_id, text, question_id FROM prediction_item JOIN prediction USING (prediction_id) "
        "JOIN knowledge_item USING (item_id) WHERE place = 1 AND condition = 'memory' ORDER BY ALL LIMIT 1",
    )
    asked = next(each for each in comem.load_benchmark_questions("test") if each.question_id == question_id)
    question = {"image": asked.image, "question": asked.question, "language": asked.language}
    pages = sorted((tmp_path / ".comem" / "store" / "report").glob("*/report.html"))
    shown = escape(text)[:150]
    assert all(shown in page.read_text(encoding="utf-8") for page in pages)
    before = comem.open(tmp_path / ".comem")
    assert item_id in [each.item_id for each in before.ask(**question).items]

    assert withdraw(["--item", item_id, "--reason", "somebody asked"]) == 0
    said = capsys.readouterr().out
    assert "2 pages were written again" in said and "rests on answers with them" in said
    assert not any(shown in page.read_text(encoding="utf-8") for page in pages)
    after = before.reload()
    assert after is not before and after.encoder is before.encoder and len(after) == len(before) - 1
    assert item_id not in [each.item_id for each in after.ask(**question).items]
    assert len(after.ask(**question).items) == len(before.ask(**question).items)
    with pytest.raises(KeyError, match=item_id):
        after.ask(**question, item_ids=[item_id])
    with pytest.raises(ValueError, match="run rebuild-memory"):
        after.save(tmp_path / "saved")

    rebuild_memory()
    rebuilt = comem.open(tmp_path / ".comem")
    assert len(rebuilt) == len(after) and item_id not in rebuilt.items
    assert rebuilt.ask(**question).items == after.ask(**question).items
    rebuilt.save(tmp_path / "saved")
    found = _rows(tmp_path / ".comem", "SELECT reason FROM dropped_row WHERE reason = 'withdrawn'")
    assert len(found) == 1
    assert not list(find_faults(Context.from_environment()))

    assert withdraw(["--undo", read_withdrawals(tmp_path / ".comem" / "store")[0].name]) == 0
    assert all(shown in page.read_text(encoding="utf-8") for page in pages)
    rebuild_memory()
    assert len(comem.open(tmp_path / ".comem")) == len(before)


def test_the_run_tells_where_encoder_and_bank_are_and_how_they_open(
    place: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(place.parent))
    [(flow_run_id,)] = _rows(place, "SELECT flow_run_id FROM run ORDER BY started LIMIT 1")
    assert has_completed(Context.from_environment(), UUID(flow_run_id))
    assert not has_completed(Context.from_environment(), UUID(int=0))
    lines = describe_results(Context.from_environment(), UUID(flow_run_id))
    assert f"results: {place}/store" in lines
    assert any(line.startswith(f"encoder: {place}/store/encoder/") for line in lines)
    for words in ("from memory", "without memory"):
        said = [line for line in lines if line.startswith(f"    {words}: ")]
        assert len(said) == NUM_EXAMPLES and all(line.endswith(("(right)", "(wrong)")) for line in said)
    names: dict[str, Any] = {}
    exec("\n".join(line.strip() for line in lines[-2:]), names)
    assert len(names["memory"]) == 1150

    bank = rebuild_memory(knowledge=Knowledge(corpus=str(own_folder)))
    assert isinstance(bank, Reference)
    opened = comem.open(place)
    assert opened.made_from["bank"]["fingerprint"] == bank.fingerprint
    assert opened.ask(own_folder / "AD.png", "Which country is this?").items[0].score == pytest.approx(1, abs=1e-4)


def test_the_log_and_the_results_name_the_report_where_it_is_served(
    place: Path, pages_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(place.parent))
    [(flow_run_id, report)] = _rows(
        place,
        "SELECT flow_run_id, fingerprint FROM run JOIN run_stage USING (run_id) WHERE stage = 'report' "
        "ORDER BY started LIMIT 1",
    )
    said = f"report page: {pages_url}/report/{report}/report.html (file: {place}/store/report/{report}/report.html)"
    context = Context.from_environment()
    assert said in describe_results(replace(context, pages_url=pages_url), UUID(flow_run_id))
    assert any(line.startswith("report page: file://") for line in describe_results(context, UUID(flow_run_id)))
    with get_client(sync_client=True) as client:
        logged = [each.message for each in client.read_logs(limit=200, sort=LogSort.TIMESTAMP_DESC)]
    assert said in logged


def test_a_recipe_file_and_a_model_of_one_s_own_make_only_what_they_change(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(place.parent))
    monkeypatch.setenv("COMEM_ROWS_PER_SHARD", "32")
    file, model = place.parent / "mine.toml", place.parent / "a model of my own"
    shutil.copytree(SHIPPED / "tiny", model)
    file.write_text(
        f"""
        base = "tiny_cpu"
        backbone.name = "{model}"
        synthesis = {{num_seed_questions = {LIMIT}, num_asked_items = 1}}
        training.optimizer = {{num_steps = 2, learning_rate = 1e-4}}
        evaluation.num_questions = {LIMIT}
        """
    )
    synth_and_train(recipe=str(file))
    file.unlink()
    [(run_id, name, recipe)] = _rows(place, "SELECT run_id, recipe_name, recipe FROM run ORDER BY started DESC LIMIT 1")
    made = [
        row[0] for row in _rows(place, f"SELECT stage FROM run_stage WHERE run_id = '{run_id}' AND action <> 'reused'")
    ]
    assert sorted(set(made)) == ["bank", "contamination", "encoder", "predictions", "report", "scores", "training-set"]
    assert name == "mine"
    assert json.loads(recipe)["stated"]["training"] == {"optimizer": {"num_steps": 2, "learning_rate": 1e-4}}

    re_evaluate(recipe="mine", plan=False)
    [(again, flow)] = _rows(place, "SELECT run_id, flow FROM run ORDER BY started DESC LIMIT 1")
    actions = dict(_rows(place, f"SELECT stage, action FROM run_stage WHERE run_id = '{again}'"))
    assert flow == "re-evaluate" and actions.pop("evaluation-report") == "made"
    assert set(actions.values()) == {"reused"}
