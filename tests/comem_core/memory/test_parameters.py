"""How many parameters an encoder has on the paper's own backbones, and how its share is stated."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from comem_core.backbone.configurations import read_configuration
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.parameters import describe_parameter_share
from comem_core.recipes import find_recipe

LANGUAGE_MODEL_LORA, QFORMER = 40_370_176, 179_895_296


def encoder_on_meta(name: str, recipe_name: str, backbone: QwenVL) -> MemoryEncoder:
    """The recipe's encoder on a model of the real configuration, without any weight in memory."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(read_configuration(name))
        return MemoryEncoder(QwenVL(model, backbone.processor, name), find_recipe(recipe_name).training.encoder)


@pytest.mark.parametrize(
    ("name", "recipe_name", "vision_lora", "total", "one_backbone"),
    [
        ("qwen2_5_vl_7b_instruct", "comem_qwen25_vl_7b", 11_454_464, 231_719_936, 8_292_166_656),
        ("qwen2_vl_7b_instruct", "comem_qwen2_vl_7b", 10_788_864, 231_054_336, 8_291_375_616),
    ],
)
def test_the_papers_encoders_have_exactly_its_number_of_parameters(
    backbone: QwenVL, name: str, recipe_name: str, vision_lora: int, total: int, one_backbone: int
):
    encoder = encoder_on_meta(name, recipe_name, backbone)
    counts = {"language_model": 0, "visual": 0, "qformer": 0}
    for weight_name, weight in encoder.parameters().items():
        part = next(part for part in counts if part in weight_name.split("."))
        counts[part] += weight.numel()
    assert counts == {"language_model": LANGUAGE_MODEL_LORA, "visual": vision_lora, "qformer": QFORMER}
    assert encoder.count_parameters() == {
        "lora": LANGUAGE_MODEL_LORA + vision_lora,
        "qformer": QFORMER,
        "backbone": one_backbone,
    }
    assert sum(counts.values()) == total
    assert f"{total:,} own parameters" in repr(encoder)


def test_the_sizes_for_planning_a_7b_are_those_of_its_shapes(backbone: QwenVL):
    encoder = encoder_on_meta("qwen2_5_vl_7b_instruct", "comem_qwen25_vl_7b", backbone)
    counts = encoder.count_parameters()
    whole, own = counts["backbone"], counts["lora"] + counts["qformer"]
    numbers = encoder.recipe.num_vectors * encoder.backbone.width
    bank = Bank(
        encoder_id="any", num_vectors=encoder.recipe.num_vectors, width=encoder.backbone.width, dtype=torch.int8
    )
    sizes = {
        f"{whole:,} parameters × 2 bytes": f"{2 * whole / 1e9:.2f} GB",
        f"{own:,} parameters × 4 bytes": f"{4 * own / 1e9:.2f} GB",
        "the same with AdamW's two moments, × 3": f"{3 * 4 * own / 1e9:.2f} GB",
        "the same with gradients, × 4": f"{4 * 4 * own / 1e9:.2f} GB",
        "8 vectors × (3,584 numbers × 1 byte + a scale of 4 bytes)": f"{bank.description.item_bytes:,} bytes",
        "8 vectors × 3,584 numbers × 2 bytes": f"{2 * numbers:,} bytes",
    }
    page = Path("docs/gpu.md").read_text(encoding="utf-8")
    assert [row for row in (f"| {how} | {size} |" for how, size in sizes.items()) if row not in page] == []


def test_a_share_names_what_it_is_a_share_of():
    text = describe_parameter_share({"lora": 51_824_640, "qformer": 179_895_296, "backbone": 8_292_166_656})
    assert "231,719,936 own parameters (LoRA 51,824,640, Q-Former 179,895,296)" in text
    assert "2.79% of one backbone (8,292,166,656 parameters)" in text
    assert "1.38% of encoder and reader as two copies, as the paper counts (16,816,053,248)" in text


def test_a_small_encoder_states_its_own_counts(new_encoder: Callable[..., MemoryEncoder]):
    encoder = new_encoder()
    report = encoder.count_parameters()
    assert repr(encoder).startswith("MemoryEncoder on 'tiny': 8 vectors of width 64 an item; ")
    assert describe_parameter_share(report) in repr(encoder)
    assert f"{report['lora'] + report['qformer']:,} own" in describe_parameter_share(report)
