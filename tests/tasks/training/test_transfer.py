"""When a projection to a text-only reader is trained, and when there is nothing to train or nothing to train on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.backbone.finding import SHIPPED
from comem_core.memory.transfer_recipe import TransferRecipe
from comem_core.recipes import find_recipe, with_reader
from comem_core.recipes.recipe import ReaderRecipe
from tasks.engine.context import Context
from tasks.engine.store import Reference
from tasks.models import make_transfer_recipe
from tasks.run import Run
from tasks.training.transfer import train_transfer

SHIPPED_ENCODER = Reference(stage="encoder", fingerprint="shipped", uri=str(SHIPPED / "tiny-encoder"), num_rows=0)


@pytest.fixture
def run_with(context: Context, tmp_path: Path) -> Callable[..., Run]:
    """Return a function (reader's width, its other fields) -> a run of tiny_cpu that a text-only model answers."""

    def make(width: int = 128, **fields: Any) -> Run:
        folder = tmp_path / f"reader-{width}"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", "hidden_size": width}))
        recipe = with_reader(find_recipe("tiny_cpu"), ReaderRecipe(name=str(folder), **fields))
        backbone = Reference(stage="backbone", fingerprint="vlm", uri=str(SHIPPED / "tiny"), num_rows=0)
        reader = Reference(stage="reader", fingerprint="llm", uri=str(folder), num_rows=0)
        return Run(
            run_id="run-1", recipe_name=recipe.name, context=context, recipe=recipe, backbone=backbone, reader=reader
        )

    return make


def test_memories_reach_a_reader_of_their_width_as_they_are_and_others_through_a_projection(run_with):
    assert make_transfer_recipe(run_with()) == TransferRecipe(projection=False, question_picture=True)
    assert make_transfer_recipe(run_with(160)) == TransferRecipe(projection=True, question_picture=True)
    asked = make_transfer_recipe(run_with(projection=True, question_picture=False))
    assert asked == TransferRecipe(projection=True, question_picture=False)


def test_nothing_is_trained_where_memories_fit_or_none_is_shown_or_the_backbone_answers(run_with):
    run = run_with(160)
    blind = replace(run, recipe=replace(run.recipe, reader=None), reader=None)
    without_memory = run.with_recipe(evaluation=replace(run.recipe.evaluation, conditions=("none", "text")))
    for each in (run_with(), blind, without_memory):
        assert train_transfer.fn(each, SHIPPED_ENCODER) is None


def test_a_projection_without_samples_is_refused_with_what_to_do(run_with):
    with pytest.raises(
        ValueError, match=r"was not trained in .* Name an encoder that was trained here, or a reader of"
    ):
        train_transfer.fn(run_with(160), SHIPPED_ENCODER)
