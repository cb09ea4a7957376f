"""The stages that make data, on the shipped model: what decides a row, and what is logged of failed requests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comem_core.knowledge.items import Question
from comem_core.recipes import find_recipe
from comem_core.recipes.recipe import Recipe
from comem_core.serving.layout import Record
from comem_core.worlds.countries.world import load_knowledge_items, load_seed_questions
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.data.questions import pose_questions
from tasks.data.retrieve import retrieve
from tasks.data.synthesize import judge_qa, synthesize_qa
from tasks.engine.context import Context
from tasks.engine.on_ray import release_workers
from tasks.engine.store import Reference, Store
from tasks.rows.tables import make_item_table, make_question_table, read_rows
from tasks.run import Run, open_run
from tasks.sources import NO_BACKBONE
from tasks.vllm.process import EngineFailed
from tests.vllm_stand_in import write_interpreter
from warehouse.schemas import check_rows

Rows = dict[str, list[dict[str, Any]]]
Synthesised = Callable[..., Rows]

NUM_SEEDS = 4


def recipe(**changes: Any) -> Recipe:
    tiny = find_recipe("tiny_cpu")
    few = replace(tiny.synthesis, num_seed_questions=NUM_SEEDS, num_asked_items=2, num_kinds=3)
    return replace(tiny, synthesis=replace(few, **changes))


@pytest.fixture
def synthesised(tmp_path: Path, small_ray: None, monkeypatch: pytest.MonkeyPatch) -> Synthesised:
    """Return a function (name of a place, recipe, **context) -> the rows that the stages make there, without times."""

    def make(place: str, recipe: Recipe, **context: Any) -> Rows:
        monkeypatch.setenv("COMEM_ROOT", str(tmp_path / place))
        for name in ("MIN_FREE_DISK_MB", "MIN_FREE_MEMORY_MB"):
            monkeypatch.setenv(f"COMEM_{name}", "10")
        for name, value in context.items():
            monkeypatch.setenv(f"COMEM_{name.upper()}", str(value))
        with open_run("test", recipe, needs_generator=True) as run:
            knowledge = ingest_knowledge.fn(run)
            questions = pose_questions.fn(run, knowledge)
            retrieved = retrieve.fn(run, build_index.fn(run, knowledge), questions)
            drafts = synthesize_qa.fn(run, knowledge, questions, retrieved)
            verdicts = judge_qa.fn(run, knowledge, questions, retrieved, drafts)
            made = {"questions": questions, "drafts": drafts, "verdicts": verdicts}
            measured = {name: (Store.of(run.context).find(name, each.fingerprint) or {}) for name, each in made.items()}
        return {name: _timeless(read_rows(reference)) for name, reference in made.items()} | {
            "measured": [measured[name]["measured"] for name in made]
        }

    return make


def stored(folder: Path, table: pa.Table) -> Reference:
    folder.mkdir()
    pq.write_table(table, folder / "part-00000.parquet")
    return Reference(stage=folder.name, fingerprint=folder.name, uri=str(folder), num_rows=table.num_rows)


def _timeless(rows: Any) -> list[dict[str, Any]]:
    kept_out = ("seconds", "row_key")  # the keys name the model, and models are compared here
    plain = ({name: value for name, value in row.items() if name not in kept_out} for row in rows)
    return sorted(plain, key=lambda row: row.get("sample_id") or row["question_id"])


def test_rows_depend_neither_on_batches_nor_on_shards_nor_on_workers(synthesised: Synthesised) -> None:
    drawn = recipe(ask_temperature=0.9, seed=3)
    one = synthesised("one", drawn, batch_size=16, rows_per_shard=64, num_actors=1)
    other = synthesised("other", drawn, batch_size=3, rows_per_shard=4, num_actors=2)
    for name in ("questions", "drafts", "verdicts"):
        assert one[name] == other[name], name
    assert len(one["questions"]) == len(one["drafts"]) == len(one["verdicts"]) > NUM_SEEDS
    assert {row["mode"] for row in one["drafts"]} == {"answer", "ask"}
    assert all(row["prompt_tokens"] > 0 for row in one["verdicts"])
    assert {row["consistent"] for row in one["verdicts"] if row["judge"] == "infoseek"} == {None}


def test_without_seeds_all_questions_are_asked_and_what_is_none_is_a_draft_with_its_error(
    synthesised: Synthesised,
) -> None:
    # The tiny model knows no words of this prompt set, so that it writes no pair at all.
    found = synthesised("none", recipe(seeds=(), prompts="reason", max_new_tokens=8))
    assert found["questions"] == found["verdicts"] == []
    requests = len(found["drafts"])
    assert 0 < requests <= 2 * 3
    assert {(row["mode"], row["error"], row["answer"]) for row in found["drafts"]} == {("ask", "unparsable", "")}
    assert all(row["answer_raw"] is not None and row["prompt_tokens"] > 0 for row in found["drafts"])
    questions, drafts, _ = found["measured"]
    assert questions["asked_in_vain"] == {"unparsable": requests}
    assert (drafts["rows"], drafts["failed"]) == (requests, requests)


def test_a_served_model_makes_the_same_rows_as_the_same_model_in_the_workers(
    synthesised: Synthesised, server: str
) -> None:
    served = recipe(generator="served:tiny")
    with pytest.raises(ValueError, match="set COMEM_SERVED_URL to the address"):
        synthesised("refused", served)
    beside = synthesised("beside", recipe())
    there = synthesised("there", served, served_url=f"{server}/v1", served_key="right-key")
    assert {row.pop("model") for row in there["drafts"]} == {"served:tiny"}
    assert {row.pop("model") for row in beside["drafts"]} == {"tiny"}
    for name in ("questions", "drafts", "verdicts"):
        assert there[name] == beside[name], name


def test_requests_that_got_no_reply_are_sent_again_and_drafts_are_named_by_content(
    context: Context, small_ray: None, server: str, tmp_path: Path
) -> None:
    served = replace(context, served_url=f"{server}/v1", served_key="right-key")
    run = Run(
        run_id="run-1",
        recipe_name="tiny_cpu",
        context=served,
        recipe=recipe(generator="served:tiny"),
        backbone=NO_BACKBONE,
    )
    items, seeds = load_knowledge_items()[:6], load_seed_questions()[:4]
    knowledge = stored(tmp_path / "knowledge", make_item_table(items))

    def synthesise(name: str, asked: Sequence[Question], score: float, shown: int = 3) -> list[Record]:
        rows = [
            {"question_id": each.question_id, "item_ids": [item.item_id for item in items[:shown]]}
            | {"scores": [score] * shown, "seconds": 0.0}
            for each in asked
        ]
        questions = stored(tmp_path / f"questions-{name}", make_question_table(asked))
        retrieved = stored(tmp_path / f"retrieved-{name}", check_rows("retrieval", rows))
        drafts = synthesize_qa.fn(run, knowledge, questions, retrieved)
        verdicts = judge_qa.fn(run, knowledge, questions, retrieved, drafts)
        for row in read_rows(drafts):
            assert row["retrieval_scores"] == [score] * shown and row["question_id"] in {
                each.question_id for each in asked
            }
            assert (row["error"] is None) == (row["row_key"] is not None)
        assert {row["sample_id"] for row in read_rows(verdicts)} == {
            row["sample_id"] for row in read_rows(drafts) if row["error"] is None
        }
        found = [Store.of(run.context).find(each.stage, each.fingerprint) for each in (drafts, verdicts)]
        return [each for each in found if each]

    broken = replace(seeds[0], question="a broken question", question_id="broken")
    first = synthesise("first", [broken, *seeds[:2]], 0.5)
    assert [each["num_rows"] for each in first] == [3, 2]
    renamed = [replace(seeds[0], question_id="renamed"), replace(seeds[1], answers=("another answer",))]
    drafts, verdicts = synthesise("second", [broken, *renamed, *seeds[2:]], 0.25)
    assert (drafts["num_rows"], drafts["measured"]["drafted_before"]) == (5, 2)
    assert (drafts["measured"]["rows"], drafts["measured"]["failed"]) == (3, 1)
    assert (verdicts["num_rows"], verdicts["measured"]["judged_before"]) == (4, 1)  # the gold of the other is another
    drafts, _ = synthesise("third", seeds, 0.5, shown=2)
    assert drafts["measured"]["drafted_before"] == 0


@pytest.fixture
def vllm(tmp_path: Path) -> Path:
    """An interpreter with a stand-in for vLLM."""
    return write_interpreter(tmp_path / "vllm")


def _list_engines(python: Path) -> list[psutil.Process]:
    """List the engines that run with an interpreter; its folder is in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"{python.parent}:" in process.environ().get("PYTHONPATH", ""):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.slow
def test_engines_that_the_run_starts_write_the_same_rows_and_share_the_requests(
    synthesised: Synthesised, vllm: Path, tmp_path: Path
) -> None:
    seeds_only = {"num_asked_items": 0}
    beside = synthesised("beside", recipe(**seeds_only))
    few = {"vllm_python": vllm, "batch_size": 1, "rows_per_shard": 1}
    note = f"--note {tmp_path / 'two.txt'}"
    two = synthesised("two", recipe(generator="vllm", **seeds_only), num_actors=2, vllm_args=note, **few)
    assert {row.pop("model") for row in two["drafts"]} == {"vllm:tiny@0.0.7"}
    assert {row.pop("model") for row in beside["drafts"]} == {"tiny"}
    for name in ("questions", "drafts", "verdicts"):
        assert two[name] == beside[name], name
    noted = [line.split() for line in (tmp_path / "two.txt").read_text().splitlines()]
    ports = [port for port, _ in noted]
    assert len(set(ports)) == 2  # those that write stay to judge
    assert min(map(ports.count, ports)) >= 2
    assert len(_list_engines(vllm)) >= 2

    broken = f"--note {tmp_path / 'broken.txt'} --die-after 2"
    one = synthesised("broken", recipe(generator="vllm:tiny", **seeds_only), num_actors=1, vllm_args=broken, **few)
    assert (tmp_path / "broken.died").exists()
    assert {row.pop("model") for row in one["drafts"]} == {"vllm:tiny@0.0.7"}
    for name in ("questions", "drafts", "verdicts"):
        assert one[name] == beside[name], name
    again = [line.split()[1] for line in (tmp_path / "broken.txt").read_text().splitlines()]
    assert sorted(again) == sorted(text for _, text in noted)  # nothing was asked twice

    release_workers()
    psutil.wait_procs(_list_engines(vllm), timeout=20)
    assert _list_engines(vllm) == []


def test_an_engine_that_does_not_start_says_why_and_leaves_no_process(synthesised: Synthesised, vllm: Path) -> None:
    with pytest.raises(
        EngineFailed, match=r"vLLM 0\.0\.7 on node \S+ ended while it started; the end of its log:\n.*too small"
    ):
        synthesised("failed", recipe(generator="vllm"), vllm_python=vllm, vllm_args="--fail-at-start", num_actors=2)
    psutil.wait_procs(_list_engines(vllm), timeout=20)
    assert _list_engines(vllm) == []


def test_a_run_without_vllm_is_refused_before_it_begins(synthesised: Synthesised) -> None:
    with pytest.raises(ValueError, match="vllm is not installed there"):
        synthesised("missing", recipe(generator="vllm"))
