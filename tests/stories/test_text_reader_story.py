"""The paper's Table 5 as a user runs it: a text-only model answers from the memories of a VLM's encoder."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from comem_core.backbone.loading import load_text_model
from comem_core.memory.transfer_recipe import DESCRIPTION
from comem_core.recipes.recipe import ReaderRecipe
from flows.local.comparing import compare_runs
from flows.re_evaluate import re_evaluate
from flows.synth_and_train import synth_and_train
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.lineage import trace_prediction

pytestmark = pytest.mark.slow  # as the other side tables
FEW = 6
EVERY = ["none", "text", "memory", "shuffled", "empty", "oracle"]
ENCODER = "tiny-encoder"


@pytest.fixture(scope="module")
def other_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny-text with one weight of its own."""
    model = load_text_model("tiny-text")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[5] += 1.0  # pyright: ignore[reportOperatorIssue, reportIndexIssue, reportArgumentType]
    folder = tmp_path_factory.mktemp("readers") / "other-text"
    model.save(folder)
    return folder


@pytest.fixture(scope="module")
def wide_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of the Qwen2.5 class, of another width than the tiny encoder's."""
    model = load_text_model("tiny-text")
    torch.manual_seed(1)
    shape: dict[str, Any] = {
        "hidden_size": 160,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    config = Qwen2Config(vocab_size=len(model.tokenizer), num_key_value_heads=2, **shape)
    folder = tmp_path_factory.mktemp("readers") / "wide-text"
    Qwen2ForCausalLM(config).save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory, other_reader: Path, prefect_server: None, small_ray: None
) -> Path:
    """The shipped encoder read by its own VLM, then by text-only readers: the folder of it all."""
    root = tmp_path_factory.mktemp("readers")
    blind = ReaderRecipe(name="tiny-text", question_picture=False)
    asked: list[dict[str, Any]] = [
        {"conditions": EVERY},
        {"conditions": EVERY, "reader": "tiny-text"},
        {"conditions": EVERY, "reader": "tiny-text"},
        {"conditions": ["none", "memory"], "reader": blind},
        {"conditions": ["none", "memory"], "reader": str(other_reader)},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        for parameters in asked:
            assert re_evaluate(encoders=[ENCODER], limit=FEW, return_state=True, **parameters).is_completed()
    return root / ".comem"


def rows(place: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def evaluations(place: Path) -> list[dict[str, Any]]:
    names = ("recipe_name", "reader_name", "reader", "predictions", "run_id")
    return [
        dict(zip(names, row, strict=True))
        for row in rows(place, f"SELECT {', '.join(names)} FROM evaluation ORDER BY made")
    ]


def records(place: Path, stage: str) -> dict[str, dict[str, Any]]:
    read = [json.loads(path.read_text()) for path in (place / "store" / stage).glob("*/record.json")]
    return {record["fingerprint"]: record for record in read}


def keys_of(place: Path, predictions: str, condition: str) -> set[str]:
    asked = f"SELECT answer_key FROM prediction WHERE artefact = '{predictions}' AND condition = '{condition}'"
    return {row[0] for row in rows(place, asked)}


def test_the_three_rows_of_the_table_and_the_controls_come_out_without_a_picture(evaluated: Path) -> None:
    _, text, *_ = evaluations(evaluated)
    found = rows(
        evaluated,
        f"""SELECT condition, count(*), max(memory_vectors), min(prompt_tokens) FROM prediction
            WHERE artefact = '{text["predictions"]}' GROUP BY 1""",
    )
    shown = {condition: (num, vectors) for condition, num, vectors, _ in found}
    # Three items and the question's picture, eight vectors each; the gold item alone and the picture.
    with_items, gold = (FEW, 4 * 8), (FEW, 2 * 8)
    assert shown == {"none": (FEW, 0), "text": (FEW, 0), "oracle": gold} | dict.fromkeys(
        ("memory", "shuffled", "empty"), with_items
    )
    seen = dict(
        rows(
            evaluated,
            """SELECT artefact, avg(prompt_tokens) FROM prediction WHERE condition = 'none' GROUP BY 1""",
        )
    )
    vlm = evaluations(evaluated)[0]
    assert seen[text["predictions"]] < seen[vlm["predictions"]] - 5  # no visual token


def test_a_reader_is_named_in_records_scores_and_lineage(evaluated: Path) -> None:
    vlm, text, *_ = evaluations(evaluated)
    assert (vlm["recipe_name"], vlm["reader_name"]) == ("tiny_cpu", None)
    assert (text["recipe_name"], text["reader_name"]) == ("tiny_cpu+reader=tiny-text", "tiny-text")
    record = records(evaluated, "predictions")[text["predictions"]]
    assert record["inputs"]["reader"] == text["reader"] != record["inputs"]["backbone"] == vlm["reader"]
    assert record["measured"]["reader"] == {"name": "tiny-text", "sees_pictures": False}
    [scores] = [
        each for each in records(evaluated, "scores").values() if text["predictions"] in each["inputs"].values()
    ]
    assert scores["num_rows"] > 0
    with open_warehouse(evaluated / "warehouse.duckdb", read_only=True) as con:
        [(prediction,)] = con.execute(
            "SELECT prediction_id FROM prediction WHERE artefact = ? AND condition = 'oracle' LIMIT 1",
            [record["fingerprint"]],
        ).fetchall()
        behind = {link.id for link in trace_prediction(con, prediction) if link.kind == "reader"}
    assert text["reader"] in behind


def test_an_answer_belongs_to_its_reader_and_what_it_was_shown_of_the_picture(evaluated: Path) -> None:
    vlm, text, _, blind, other = evaluations(evaluated)
    taken_over = {
        name: record["measured"]["answered_before"] for name, record in records(evaluated, "predictions").items()
    }
    assert taken_over[vlm["predictions"]] == taken_over[text["predictions"]] == taken_over[other["predictions"]] == 0
    assert taken_over[blind["predictions"]] == FEW  # the question alone is the same question, with or without a picture
    for condition in ("none", "memory"):
        keys = [keys_of(evaluated, each["predictions"], condition) for each in (vlm, text, other)]
        assert len(set.union(*keys)) == 3 * FEW
    assert not keys_of(evaluated, text["predictions"], "memory") & keys_of(evaluated, blind["predictions"], "memory")


def test_each_reader_has_a_series_of_its_own(evaluated: Path) -> None:
    vlm, text, again, blind, other = evaluations(evaluated)
    assert again["predictions"] == text["predictions"]
    names = [each["reader_name"] for each in (vlm, text, again, blind, other)]
    assert names == [None, "tiny-text", "tiny-text", "tiny-text,blind", "other-text"]
    pages = {
        path.read_text(encoding="utf-8") for path in (evaluated / "store").glob("evaluation-report/*/evaluation.html")
    }
    assert sum("The first evaluation of its series" in page for page in pages) == 4
    assert sum("The same answers as the last time" in page for page in pages) == 1
    assert sum("read by the text-only" in page for page in pages) == 4


def test_two_readers_can_be_compared_on_purpose_and_the_page_names_both(
    evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(evaluated.parent))
    vlm, text, *_ = evaluations(evaluated)
    [(page, _)] = compare_runs(Context.from_environment(), vlm["run_id"], text["run_id"], tmp_path)
    said = page.read_text(encoding="utf-8")
    assert "Different from before: reader." in said
    assert "the encoder&#39;s own model" in said or "the encoder's own model" in said
    assert "tiny-text, text only" in said and text["reader"] in said


def test_a_vlm_as_reader_and_a_projection_without_samples_are_refused_before_anything_is_made(
    wide_reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None, small_ray: None
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    with pytest.raises(ValueError, match="is a 'qwen2_5_vl' model; a text-only reader is one of qwen2, llama"):
        re_evaluate(encoders=[ENCODER], limit=FEW, reader="tiny")
    with pytest.raises(ValueError, match=r"was not trained in .* a projection to the reader cannot be trained on them"):
        re_evaluate(encoders=[ENCODER], limit=FEW, reader=str(wide_reader))
    assert not list((tmp_path / ".comem" / "store").glob("predictions/*/record.json"))


def test_a_projection_to_another_width_is_trained_after_the_encoder_and_used_again(
    wide_reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None, small_ray: None
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    monkeypatch.setenv("COMEM_ROWS_PER_SHARD", "32")
    place, limit = tmp_path / ".comem", 24
    synth_and_train(limit=limit, reader=str(wide_reader))
    [transfer] = records(place, "transfer").values()
    [encoder] = records(place, "encoder").values()
    assert transfer["inputs"]["encoder"] == encoder["fingerprint"]
    assert transfer["num_rows"] == encoder["num_rows"] == limit  # steps
    [predictions] = records(place, "predictions").values()
    assert predictions["inputs"]["transfer"] == transfer["fingerprint"]
    described = json.loads((place / "store" / "transfer" / transfer["fingerprint"] / DESCRIPTION).read_text())
    assert described["parameters"] == 128 * 160 + 160
    [page] = (place / "store" / "report").glob("*/report.html")
    said = page.read_text(encoding="utf-8")
    assert "Projection to the text-only reader" in said and "wide-text, text only" in said

    assert re_evaluate(limit=limit, reader=str(wide_reader), return_state=True).is_completed()
    assert list(records(place, "transfer")) == [transfer["fingerprint"]]
    [again] = records(place, "predictions").values()  # the same answers, whichever flow asked
    assert again["fingerprint"] == predictions["fingerprint"]
