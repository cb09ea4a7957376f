"""A run is opened when what its recipe asks for can be done, and otherwise nothing is begun."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.recipes import RECIPES, find_recipe, with_knowledge
from comem_core.recipes.prompts import check_prompts
from comem_core.recipes.recipe import ReaderRecipe
from tasks.engine.context import Context
from tasks.engine.reuse import fingerprint
from tasks.evaluation.exam import PREDICTIONS, Exam, make_predictions_key
from tasks.run import Run, open_run
from tasks.sources import BACKBONE, NO_BACKBONE, READER, find_backbone, find_text_reader


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
