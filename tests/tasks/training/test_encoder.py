"""Which encoder a training starts from: the recipe's, one of the user's own, or none."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from comem_core.backbone.finding import SHIPPED
from comem_core.backbone.loading import load_backbone
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from tasks.engine.context import Context
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tasks.training.encoder import MOST_PARTS, find_start, make_compute_options


@pytest.fixture
def run(context: Context) -> Run:
    """A run of tiny_cpu, whose recipe names the encoder that ships as its start."""
    recipe = find_recipe("tiny_cpu")
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=NO_BACKBONE)


def without_start(run: Run) -> Run:
    return replace(run, recipe=replace(run.recipe, training=replace(run.recipe.training, start=None)))


def test_the_recipe_names_the_start_and_a_folder_takes_its_place(run: Run, tmp_path: Path) -> None:
    shipped = find_start.fn(run)
    assert shipped is not None and shipped.folder == SHIPPED / "tiny-encoder-start"
    assert find_start.fn(without_start(run)) is None
    MemoryEncoder(load_backbone("tiny"), replace(run.recipe.training.encoder, seed=5)).save(tmp_path / "own")
    own = find_start.fn(run, str(tmp_path / "own"))
    assert own is not None and own.folder == tmp_path / "own"
    assert own.fingerprint != shipped.fingerprint
    assert find_start.fn(without_start(run), str(tmp_path / "own")) == own


def test_a_start_that_is_not_there_or_of_another_shape_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"holds no encoder: there is no such folder; the shipped encoders are: .*tiny-enc"
    ):
        find_start.fn(run, str(tmp_path / "nowhere"))
    recipe = replace(run.recipe.training.encoder, num_vectors=2, lora_rank=4)
    MemoryEncoder(load_backbone("tiny"), recipe).save(tmp_path / "two")
    differences = r"it has num_vectors 2 \(the recipe: 16\), lora_rank 4 \(the recipe: 16\)"
    said = f"training of tiny_cpu cannot start from the encoder in .*: {differences}"
    with pytest.raises(ValueError, match=said):
        find_start.fn(run, str(tmp_path / "two"))


def test_a_start_of_another_backbone_is_refused_by_name_before_anything_runs(run: Run, tmp_path: Path) -> None:
    other = replace(run, recipe=replace(run.recipe, backbone=replace(run.recipe.backbone, name="Qwen/Qwen2-VL-2B")))
    said = "tiny-encoder-start was trained for the backbone 'tiny', but this recipe trains for 'Qwen/Qwen2-VL-2B'"
    with pytest.raises(ValueError, match=said):
        find_start.fn(other)
    in_folder = replace(run.recipe.backbone, name=str(tmp_path))  # its weights are compared when they are loaded
    assert find_start.fn(replace(run, recipe=replace(run.recipe, backbone=in_folder))) == find_start.fn(run)


@pytest.mark.parametrize(
    ("device", "threads", "parts"), [("cpu", 1, 1), ("cpu", 3, 3), ("cpu", 64, MOST_PARTS), ("cuda", 8, 1)]
)
def test_a_cpu_computes_as_many_parts_at_once_as_torch_has_threads(
    run: Run, device: Literal["cpu", "cuda"], threads: int, parts: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert make_compute_options(replace(run.context, device=device)).parts == parts
    finally:
        torch.set_num_threads(before)
