"""Encoders on disk: what comes back is what was saved, and what does not belong together is refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.checkpoint import DESCRIPTION, WEIGHTS, load_encoder, save_encoder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.training.pretraining import PretrainingRecipe
from comem_core.training.tiny_base import new_tiny_base

Items = tuple[KnowledgeItem, ...]
NewBackbone = Callable[[], QwenVL]


@pytest.fixture
def saved(encoder: MemoryEncoder, tmp_path: Path) -> Path:
    save_encoder(encoder, tmp_path / "encoder")
    return tmp_path / "encoder"


def test_a_loaded_encoder_gives_the_same_memory(
    saved: Path, encoder: MemoryEncoder, new_backbone: NewBackbone, items: Items
):
    loaded = load_encoder(saved, new_backbone())
    assert loaded.recipe == encoder.recipe
    assert torch.equal(loaded.encode(items[:3]), encoder.encode(items[:3]))
    assert torch.equal(loaded.empty_memory(), encoder.empty_memory())


def test_the_file_holds_lora_and_qformer_and_no_weight_of_the_backbone(saved: Path, encoder: MemoryEncoder):
    weights = load_file(saved / WEIGHTS)
    assert set(weights) == set(encoder.parameters())
    assert all("lora_" in name or name.startswith("qformer.") for name in weights)
    report = encoder.parameter_report()
    num_bytes = 4 * (report["lora"] + report["qformer"])
    assert num_bytes < (saved / WEIGHTS).stat().st_size < num_bytes + 20_000  # names and shapes


def test_the_description_names_recipe_backbone_and_counts(saved: Path, encoder: MemoryEncoder):
    description = json.loads((saved / DESCRIPTION).read_text())
    assert description["recipe"]["num_heads"] == 4
    assert description["backbone_sha256"] == encoder.backbone.base_weights_sha256()
    assert description["parameters"] == encoder.parameter_report()


def test_saving_twice_gives_the_same_bytes(saved: Path, encoder: MemoryEncoder, tmp_path: Path):
    save_encoder(encoder, tmp_path / "again")
    for name in (WEIGHTS, DESCRIPTION):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()


def test_another_backbone_is_refused(saved: Path, pretraining_recipe: PretrainingRecipe):
    other = new_tiny_base(replace(pretraining_recipe, backbone=replace(pretraining_recipe.backbone, seed=1)))
    with pytest.raises(
        ValueError, match=r"trained for backbone 'tiny' \(weights [0-9a-f]{12}\), but 'tiny' has weights"
    ):
        load_encoder(saved, other)


def test_a_missing_weight_is_refused_by_name(saved: Path, new_backbone: NewBackbone):
    weights = load_file(saved / WEIGHTS)
    del weights["qformer.latents_MD"]
    save_file(weights, saved / WEIGHTS)
    with pytest.raises(ValueError, match=r"1 weights are missing from the checkpoint, first 'qformer\.latents_MD'"):
        load_encoder(saved, new_backbone())


def test_an_unknown_weight_is_refused_by_name(saved: Path, new_backbone: NewBackbone):
    save_file(load_file(saved / WEIGHTS) | {"qformer.gate": torch.zeros(1)}, saved / WEIGHTS)
    with pytest.raises(ValueError, match=r"1 weights in the checkpoint are unknown here, first 'qformer\.gate'"):
        load_encoder(saved, new_backbone())


def test_a_wrong_shape_is_refused_by_name(saved: Path, new_backbone: NewBackbone):
    save_file(load_file(saved / WEIGHTS) | {"qformer.latents_MD": torch.zeros(4, 64)}, saved / WEIGHTS)
    with pytest.raises(ValueError, match=r"'qformer\.latents_MD' is \(4, 64\), expected \(8, 64\)"):
        load_encoder(saved, new_backbone())


def test_a_folder_without_an_encoder_is_refused(saved: Path, new_backbone: NewBackbone, tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no encoder: encoder\.safetensors, encoder\.json is missing"):
        load_encoder(tmp_path / "nowhere", new_backbone())
    (saved / DESCRIPTION).unlink()
    with pytest.raises(ValueError, match=r"holds no encoder: encoder\.json is missing"):
        load_encoder(saved, new_backbone())
