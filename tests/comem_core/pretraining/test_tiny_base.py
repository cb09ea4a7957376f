"""The tiny base from nothing: the same from the same recipe, resumable, and readable as a folder of the family."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from comem_core.pretraining import tiny_base
from comem_core.pretraining.base_recipe import PretrainingRecipe, make_ranking_recipe
from comem_core.pretraining.encoder_recipe import GuidanceRecipe
from comem_core.pretraining.tiny_base import go_on, make_tiny_base, pretrain
from comem_core.training.recipe import OptimizerRecipe
from comem_core.training.reports import StepReport


@pytest.fixture(scope="module")
def recipe(pretraining_recipe: PretrainingRecipe) -> PretrainingRecipe:
    few = tuple(replace(phase, num_conversations=2) for phase in pretraining_recipe.curriculum)
    optimizer = OptimizerRecipe(num_steps=6, batch_size=2, learning_rate=1e-3)
    return replace(pretraining_recipe, curriculum=few, optimizer=optimizer)


def test_the_same_recipe_gives_the_same_model_and_another_seed_another(pretraining_recipe: PretrainingRecipe):
    first, again = make_tiny_base(pretraining_recipe), make_tiny_base(pretraining_recipe)
    assert first.hash_base_weights() == again.hash_base_weights()
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    reseeded = replace(pretraining_recipe, backbone=replace(pretraining_recipe.backbone, seed=1))
    assert make_tiny_base(reseeded).hash_base_weights() != first.hash_base_weights()


def test_a_pretraining_that_was_killed_ends_as_an_unbroken_one(
    recipe: PretrainingRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tiny_base, "SAVE_EVERY", 2)
    unbroken_reports: list[StepReport] = []
    unbroken = pretrain(recipe, tmp_path / "unbroken.pt", unbroken_reports.append)
    reports: dict[int, StepReport] = {}

    def die_at_four(report: StepReport) -> None:
        if report.step == 4:
            raise KeyboardInterrupt
        reports[report.step] = report

    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, tmp_path / "killed.pt", die_at_four)
    assert torch.load(tmp_path / "killed.pt", weights_only=True)["step"] == 2
    again: list[StepReport] = []
    killed = pretrain(recipe, tmp_path / "killed.pt", again.append)
    assert [report.step for report in again] == [3, 4, 5, 6]  # from the last saved step on
    losses = {report.step: report.loss for report in [*reports.values(), *again]}
    assert losses == {report.step: report.loss for report in unbroken_reports}
    assert killed.hash_base_weights() == unbroken.hash_base_weights()
    assert not any(weight.requires_grad for weight in killed.model.parameters())


def test_a_finished_pretraining_is_read_and_not_run_again(recipe: PretrainingRecipe, tmp_path: Path):
    reports: list[StepReport] = []
    made = pretrain(recipe, tmp_path / "state.pt", lambda report: None)
    read = pretrain(recipe, tmp_path / "state.pt", reports.append)
    assert reports == []
    assert read.hash_base_weights() == made.hash_base_weights()


def test_a_further_course_that_was_killed_ends_as_an_unbroken_one(
    recipe: PretrainingRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tiny_base, "SAVE_EVERY", 2)
    guidance = GuidanceRecipe(gathering_layer=0, finding_layer=1)
    further = replace(
        make_ranking_recipe(), optimizer=recipe.optimizer, curriculum=recipe.curriculum, guidance=guidance
    )
    start = make_tiny_base(recipe)
    unbroken = go_on(further, make_tiny_base(recipe), tmp_path / "unbroken.pt", lambda report: None)
    assert unbroken.hash_base_weights() != start.hash_base_weights()

    def die_at_four(report: StepReport) -> None:
        if report.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go_on(further, make_tiny_base(recipe), tmp_path / "killed.pt", die_at_four)
    resumed = go_on(further, make_tiny_base(recipe), tmp_path / "killed.pt", lambda report: None)
    assert resumed.hash_base_weights() == unbroken.hash_base_weights()
