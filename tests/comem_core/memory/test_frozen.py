"""A change of a frozen model's own weights is noticed, however it is made; a training changes none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from comem_core.backbone.quantization import find_quantization_fault, quantize_layers
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory import frozen
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.frozen import FrozenWeights
from comem_core.memory.recipe import EncoderRecipe
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample

NAME = "model.language_model.layers.0.mlp.up_proj"
Change = Callable[[Any], object]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the small model be one that is not hashed whole, with weights of many blocks."""
    monkeypatch.setattr(frozen, "WHOLE_UP_TO", 0)
    monkeypatch.setattr(frozen, "BLOCK_BYTES", 256)


def write_one(layer: nn.Linear) -> None:
    with torch.no_grad():
        layer.weight[3, 5] += 1e-3


def replace_weight(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)


def write_all_behind(layer: nn.Linear) -> None:
    layer.weight.data.mul_(1.001)


def cast_and_back(layer: nn.Linear) -> None:
    layer.weight.data = layer.weight.data.bfloat16().float()


CHANGES: dict[str, tuple[Change, str]] = {
    "one number in place": (write_one, "was written to"),
    "another tensor": (replace_weight, "is another tensor"),
    "all numbers through .data": (write_all_behind, "has other numbers"),
    "a cast": (cast_and_back, "has other numbers"),
    "a gradient": (lambda layer: layer.weight.requires_grad_(True), "is trained"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_and_the_weight_named(change: str, new_backbone: Callable[[], QwenVL]) -> None:
    backbone = new_backbone()
    before = FrozenWeights.of(backbone)
    assert not before.is_whole and before.find_changes() == []
    make, said = CHANGES[change]
    make(backbone.model.get_submodule(NAME))
    assert f"{NAME}.weight {said}" in before.find_changes()


def test_one_number_behind_torch_s_back_is_found_by_the_whole_hash_alone(new_backbone: Callable[[], QwenVL]) -> None:
    backbone = new_backbone()
    proofs = [FrozenWeights.of(backbone, proof=each) for each in ("sampled", "whole")]
    layer: Any = backbone.model.get_submodule(NAME)
    for place in range(layer.weight.numel()):  # where no block was looked at
        layer.weight.data.view(-1)[place] += 1.0
        if proofs[0].find_changes() == []:
            break
        layer.weight.data.view(-1)[place] -= 1.0
    assert [each.find_changes() for each in proofs] == [[], ["the hash of all weights has other numbers"]]


def test_a_small_model_is_hashed_whole(new_backbone: Callable[[], QwenVL], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "WHOLE_UP_TO", 2**28)
    assert FrozenWeights.of(new_backbone()).is_whole


@pytest.mark.parametrize("kind", ["off", "int8", "nf4"])
def test_a_training_changes_none_of_them(
    kind: Any, new_backbone: Callable[[], QwenVL], items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]
) -> None:
    if (fault := find_quantization_fault(kind)) is not None:
        pytest.skip(fault)
    backbone = new_backbone()
    quantize_layers(backbone, kind, device="cpu")
    encoder = MemoryEncoder(backbone, EncoderRecipe(num_heads=4, lora_rank=4))
    samples = [TrainingSample.of(each, [item]) for each, item in zip(questions[:4], items, strict=False)]
    optimizer = OptimizerRecipe(num_steps=2, batch_size=4, learning_rate=1e-2)
    objective = AnswerFromMemory(encoder, TrainingRecipe(encoder=encoder.recipe, optimizer=optimizer), samples)
    before = FrozenWeights.of(backbone)
    Training(objective, optimizer).run(lambda report: None)
    encoder.set_trainable(False)
    encoder.encode_batch(items[:2])
    assert before.find_changes() == []
