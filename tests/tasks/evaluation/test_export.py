"""Answers of the shipped reader out of a warehouse, in the format that an official evaluator reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from comem_core.backbone.loading import load_backbone
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.runner import ReaderInput, predict
from comem_core.knowledge.items import Question
from comem_core.memory.description import find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.prompts import read_prompt_set
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items
from tasks.engine.context import Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.evaluation.export import export, main
from tasks.evaluation.held_out.choosing import CERTAINTY
from tasks.rows.tables import make_question_table
from warehouse.connection import open_warehouse
from warehouse.records import record_run
from warehouse.schemas import check_rows, make_blank_row

ASKED = [each for each in load_benchmark_questions("dev") if each.language == "en"][:4]
GOLD = {each.item_id: each for each in load_knowledge_items()}
ITEMS = [GOLD[each.gold_item_id] for each in ASKED[:3] if each.gold_item_id]  # so more items give other answers


@dataclass(frozen=True)
class Made:
    """What tells the artefacts of this test apart."""

    what: str


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return MemoryEncoder.load(find_encoder_folder("tiny-encoder"), load_backbone("tiny"))


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Questions of countries under ids of InfoSeek, not in the order of these."""
    return [
        replace(each, question_id=f"infoseek_val_{90 - place:08d}", benchmark="infoseek")
        for place, each in enumerate(ASKED)
    ]


def answered(run: RunRef, encoder: MemoryEncoder, questions: Sequence[Question], *, k: Sequence[int] = (3,)) -> None:
    """Ask under `none`, and under `memory` with each k, and keep the answers as a run does."""
    memory = encoder.encode_batch(ITEMS)
    askings = [
        ReaderInput(question=question, condition=condition, k=shown, prompt_items=(), item_ids=(), memory=vectors)
        for condition, shown, vectors in (
            ("none", 3, memory[:0].flatten(end_dim=1)),
            *(("memory", each, memory[:each].flatten(end_dim=1)) for each in k),
        )
        for question in questions
    ]
    said = predict(encoder, askings, read_prompt_set("short"), benchmark=find_benchmark("infoseek"), max_new_tokens=8)
    rows = [make_blank_row("prediction") | row for row in said]

    def ask(artefact: Partial) -> None:
        artefact.write_shard("part-00000", make_question_table(questions))

    def answer(artefact: Partial) -> None:
        artefact.write_shard("part-00000", check_rows("prediction", rows, extra=CERTAINTY))

    with open_warehouse(run.context.warehouse) as con:
        record_run(
            con, {"run_id": run.run_id, "flow": "test", "recipe_name": "test", "recipe": {}, "flow_run_id": None}
        )
    asked = run_stage(run, Stage(name="benchmark", version="1", table="question"), Made("questions"), {}, ask)
    made_by = Reference(stage="encoder", fingerprint=encoder.encoder_id, uri="", num_rows=0)
    inputs = {"questions": asked, "encoder": made_by}
    run_stage(run, Stage(name="predictions", version="1", table="prediction"), Made(str(list(k))), inputs, answer)


def test_a_condition_of_a_run_becomes_the_official_file(
    run: RunRef, encoder: MemoryEncoder, questions: Sequence[Question]
):
    answered(run, encoder, questions)
    [(name, text)] = export(run.context, benchmark="infoseek", condition="memory").items()
    assert name == "infoseek_predictions.jsonl"
    memory = [encoder.encode_batch(ITEMS).flatten(end_dim=1)] * len(questions)
    asked = [encoder.prompts.make_conversation(each.question, each.image, "en") for each in questions]
    said = encoder.answer_batch(asked, memory, max_new_tokens=8)
    assert sorted(map(json.loads, text.splitlines()), key=lambda line: line["data_id"], reverse=True) == [
        {"data_id": each.question_id, "prediction": answer.text} for each, answer in zip(questions, said, strict=True)
    ]
    [without] = export(run.context, benchmark="infoseek", condition="none", run_id=run.run_id).values()
    assert without != text


def test_what_is_not_one_set_of_answers_is_refused_with_those_there_are(
    run: RunRef, encoder: MemoryEncoder, questions: Sequence[Question]
):
    answered(run, encoder, questions, k=(1, 3))
    with pytest.raises(ValueError, match=r"2 sets of answers of benchmark infoseek, condition memory; choose one of\n"):
        export(run.context, benchmark="infoseek", condition="memory")
    one, three = (export(run.context, benchmark="infoseek", condition="memory", k=k) for k in (1, 3))
    assert one != three
    begun = encoder.encoder_id[:8]
    assert export(run.context, benchmark="infoseek", condition="memory", k=3, encoder=begun) == three
    with pytest.raises(
        ValueError, match=r"no answers of benchmark infoseek, condition text.*\n  infoseek, memory, k 1, enc"
    ):
        export(run.context, benchmark="infoseek", condition="text")
    with pytest.raises(ValueError, match="none at all"):
        export(run.context, benchmark="infoseek", condition="none", run_id="another")


def test_the_command_writes_the_files_and_says_what_is_wrong(
    context: Context,
    run: RunRef,
    encoder: MemoryEncoder,
    questions: Sequence[Question],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    answered(run, encoder, questions)
    monkeypatch.setenv("COMEM_WAREHOUSE", str(context.warehouse))
    chosen = ["--benchmark", "infoseek", "--condition", "memory", "--output", str(tmp_path / "a" / "b")]
    assert main(chosen) == 0
    [written] = (tmp_path / "a" / "b").iterdir()
    assert f"written: {written}" in capsys.readouterr().out
    assert len(written.read_text().splitlines()) == len(questions)
    assert main([*chosen, "--k", "7"]) == 2
    assert "no answers of benchmark infoseek, condition memory, k 7" in capsys.readouterr().err


def test_without_a_run_the_last_one_with_such_answers_is_taken_after_another_began(
    run: RunRef, encoder: MemoryEncoder, questions: Sequence[Question]
):
    answered(run, encoder, questions)
    said = export(run.context, benchmark="infoseek", condition="memory", run_id=run.run_id)
    with open_warehouse(run.context.warehouse) as con:
        facts = {"run_id": "later", "flow": "test", "recipe_name": "test", "recipe": {}, "flow_run_id": None}
        record_run(con, facts)
    assert export(run.context, benchmark="infoseek", condition="memory") == said
