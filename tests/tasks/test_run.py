"""A run is opened when what its recipe asks for can be done, and otherwise nothing is begun."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.backbone import quantization
from comem_core.backbone.finding import SHIPPED, hash_backbone
from comem_core.knowledge.items import hash_content_parts
from comem_core.recipes import RECIPES, find_recipe, with_backbone, with_knowledge, with_reader
from comem_core.recipes.prompts import check_prompts
from comem_core.recipes.recipe import ReaderRecipe
from tasks.engine.context import Context
from tasks.engine.reuse import fingerprint
from tasks.evaluation.exam import PREDICTIONS, Exam, make_predictions_key
from tasks.run import Run, hold_run, open_run
from tasks.sources import BACKBONE, NO_BACKBONE, READER, find_backbone, find_served_here, find_text_reader, name_engine
from tests.vllm_stand_in import write_interpreter
from warehouse.connection import open_warehouse
from warehouse.history import finish_killed
from warehouse.records import record_run


def begin_and_die(context: Context) -> None:
    with hold_run(context, "killed"):
        record(context, "killed")
        os.kill(os.getpid(), signal.SIGKILL)


def record(context: Context, run_id: str) -> None:
    facts = {"flow": "f", "recipe_name": "r", "recipe": {}, "flow_run_id": None}
    with open_warehouse(context.warehouse) as con:
        record_run(con, facts | {"run_id": run_id})


def test_a_run_that_was_killed_is_known_to_have_ended_and_one_that_goes_on_is_left_alone(
    tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    context = make_context(tmp_path)
    child = multiprocessing.get_context("fork").Process(target=begin_and_die, args=(context,))
    child.start()
    child.join()
    with hold_run(context, "first") as killed:
        record(context, "first")
        assert killed == ["killed"]
        with hold_run(context, "second") as others, open_warehouse(context.warehouse) as con:
            finish_killed(con, [*killed, *others])
            found = dict(con.execute("SELECT run_id, status FROM run").fetchall())
    assert (others, found) == ([], {"killed": "failed", "first": "running"})
    with hold_run(context, "third") as killed:
        assert killed == []


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"embedder": "resnet"}, "unknown embedder 'resnet'"),
        ({"k": 0}, "retrieval.k is 0; expected a number of items, at least 1"),
    ],
)
def test_a_retrieval_that_cannot_work_is_refused_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: bool, changed: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    recipe = find_recipe("tiny_cpu")
    recipe = replace(recipe, retrieval=replace(recipe.retrieval, **changed))
    with pytest.raises(ValueError, match=said), open_run("test", recipe, plan=plan):
        pytest.fail("the run has begun")
    assert list(tmp_path.iterdir()) == []


def test_the_version_of_how_a_model_is_loaded_is_part_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(find_recipe("tiny_cpu"), reader=ReaderRecipe(name="tiny-text"))

    def name_models() -> tuple[str, str]:
        reader = find_text_reader(recipe)
        assert reader is not None
        return find_backbone(recipe.backbone).fingerprint, reader.fingerprint

    before = name_models()
    monkeypatch.setitem(vars(BACKBONE), "version", "2")
    monkeypatch.setitem(vars(READER), "version", "2")
    assert all(now != then for now, then in zip(name_models(), before, strict=True))


def test_a_quantised_backbone_is_another_one_and_a_whole_one_keeps_its_name() -> None:
    recipe = find_recipe("tiny_cpu")
    packed = [with_backbone(recipe, quantization=each) for each in ("off", "int8", "nf4")]
    names = [find_backbone(each.backbone).fingerprint for each in packed]
    assert names[0] == find_backbone(recipe.backbone).fingerprint
    assert names[0] == hash_content_parts("qwen_vl", "float32", hash_backbone(SHIPPED / "tiny"))
    assert len(set(names)) == 3
    assert [each.name for each in packed] == ["tiny_cpu", "tiny_cpu+backbone=int8", "tiny_cpu+backbone=nf4"]
    # The encoder that ships was trained on the whole one, so training does not begin with it.
    assert [each.training.start for each in packed] == ["tiny-encoder-start", None, None]


@pytest.mark.parametrize("plan", [False, True])
def test_without_its_library_a_quantised_backbone_is_refused_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: bool, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    monkeypatch.setattr(quantization, "PACKAGE", "a_library_that_nobody_has")
    recipe, said = with_backbone(find_recipe("tiny_cpu"), quantization="nf4"), "needs the package a_library_that_nobody"
    if plan:
        with open_run("test", recipe, plan=True):
            pass
        assert said in " ".join(capsys.readouterr().out.split())
        return
    with pytest.raises(ValueError, match=said), open_run("test", recipe):
        pytest.fail("the run has begun")
    assert list(tmp_path.iterdir()) == []


def test_vllm_neither_reads_with_a_quantised_backbone_nor_writes_with_one(
    tmp_path: Path, make_context: Callable[..., Context], caplog: pytest.LogCaptureFixture
) -> None:
    python = write_interpreter(tmp_path / "python", version="0.0.7")
    context, whole, found = make_context(tmp_path, vllm_python=str(python)), find_recipe("tiny_cpu"), []
    for recipe in (whole, with_backbone(whole, quantization="nf4")):
        caplog.clear()
        backbone = find_backbone(recipe.backbone)
        found.append(find_served_here("vllm", recipe, backbone, context, plan=False))
        assert ("quantization=nf4 has no effect on vllm: vLLM holds tiny whole" in caplog.text) == (recipe != whole)
    assert found[0] == found[1]  # what it writes is the same, so it is written once
    read = with_reader(recipe, "vllm:http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="reads with the whole backbone, but the encoder's is in nf4"):
        name_engine(read, backbone, context)


def test_a_time_limit_for_answers_makes_other_predictions(tmp_path: Path, make_context: Callable[..., Context]) -> None:
    names, exam = [], Exam(**dict.fromkeys(("knowledge", "encoder", "bank", "questions", "retrieved"), NO_BACKBONE))
    for seconds in (None, 0.5, 2.0):
        context = make_context(tmp_path, answer_seconds=seconds)
        run = Run(run_id="r", recipe_name="t", context=context, recipe=find_recipe("tiny_cpu"), backbone=NO_BACKBONE)
        names.append(fingerprint(PREDICTIONS, make_predictions_key(run, exam), {}))
    assert len(set(names)) == 3


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"synthesis": {"prompts": "nowhere"}}, "synthesis.prompts: unknown prompt set 'nowhere'"),
        ({"evaluation": {"prompts": "nowhere"}}, "evaluation.prompts: unknown prompt set 'nowhere'"),
        ({"synthesis": {"translation_prompts": "nowhere"}}, "unknown translation prompts 'nowhere'"),
        ({"synthesis": {"num_translated": 5, "languages": ("xx",)}}, "cannot name the language 'xx'"),
        (
            {"evaluation": {"prompts": "reason"}},
            "training.encoder.prompts 'short' and evaluation.prompts 'reason' do not",
        ),
    ],
)
def test_prompts_that_do_not_agree_are_refused_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: bool, part: dict[str, dict[str, Any]], said: str
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    recipe = find_recipe("tiny_cpu")
    changed = {name: replace(getattr(recipe, name), **fields) for name, fields in part.items()}
    with (
        pytest.raises(ValueError, match=said),
        open_run("test", replace(recipe, **changed), needs_generator=True, plan=plan),
    ):
        pytest.fail("the run has begun")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_prompts_of_every_shipped_recipe_agree(name: str) -> None:
    recipe = find_recipe(name)
    check_prompts(recipe)
    check_prompts(with_knowledge(recipe, "countries"))
