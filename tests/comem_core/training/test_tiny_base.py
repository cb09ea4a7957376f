"""The tiny base from nothing: the same from the same recipe, resumable, and readable as a folder of the family."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from comem_core.backbone.qwen_vl import QwenVL
from comem_core.training.loop import OptimizerRecipe, StepReport
from comem_core.training.pretraining import PretrainingRecipe
from comem_core.training.tiny_base import new_tiny_base, pretrain


@pytest.fixture(scope="module")
def recipe(pretraining_recipe: PretrainingRecipe) -> PretrainingRecipe:
    few = tuple(replace(phase, num_conversations=2) for phase in pretraining_recipe.curriculum)
    optimizer = OptimizerRecipe(num_steps=6, batch_size=2, learning_rate=1e-3)
    return replace(pretraining_recipe, curriculum=few, optimizer=optimizer)


def test_the_same_recipe_gives_the_same_model_and_another_seed_another(pretraining_recipe: PretrainingRecipe):
    first, again = new_tiny_base(pretraining_recipe), new_tiny_base(pretraining_recipe)
    assert first.base_weights_sha256() == again.base_weights_sha256()
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    reseeded = replace(pretraining_recipe, backbone=replace(pretraining_recipe.backbone, seed=1))
    assert new_tiny_base(reseeded).base_weights_sha256() != first.base_weights_sha256()


def test_a_pretraining_that_was_stopped_ends_as_an_unbroken_one(recipe: PretrainingRecipe, tmp_path: Path):
    reports: dict[str, list[StepReport]] = {"unbroken": [], "stopped": []}
    unbroken = pretrain(recipe, tmp_path / "a.pt", reports["unbroken"].append, save_every=4)
    pretrain(recipe, tmp_path / "b.pt", reports["stopped"].append, save_every=2, until=3)
    torch.manual_seed(7)
    stopped = pretrain(recipe, tmp_path / "b.pt", reports["stopped"].append, save_every=2)
    assert [each.loss for each in reports["stopped"]] == [each.loss for each in reports["unbroken"]]
    assert [each.step for each in reports["stopped"]] == [1, 2, 3, 4, 5, 6]
    assert stopped.base_weights_sha256() == unbroken.base_weights_sha256()
    assert not any(weight.requires_grad for weight in stopped.model.parameters())


def test_a_finished_pretraining_is_read_and_not_run_again(recipe: PretrainingRecipe, tmp_path: Path):
    reports: list[StepReport] = []
    made = pretrain(recipe, tmp_path / "state.pt", lambda report: None, until=1)
    read = pretrain(recipe, tmp_path / "state.pt", reports.append, until=1)
    assert reports == []
    assert isinstance(read, QwenVL)
    assert read.base_weights_sha256() == made.base_weights_sha256()
