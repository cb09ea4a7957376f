"""A backbone in 8 or 4 bits is another backbone: it carries a LoRA, passes gradients on, and no pass changes it."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from comem_core.backbone import quantization as quantizing
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.quantization import (
    PACKAGE,
    QUANTIZATIONS,
    count_saved_bytes,
    find_quantization_fault,
    quantize_layers,
)
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.description import read_description
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.export import Probe, export_merged
from comem_core.memory.recipe import EncoderRecipe
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample

KINDS = [each for each in QUANTIZATIONS if each != "off"]
needs_library = pytest.mark.skipif(
    find_quantization_fault("nf4") is not None, reason=f"{PACKAGE} is not installed (docs/gpu.md)"
)
New = Callable[..., Any]


@pytest.fixture
def new_quantized(new_backbone: Callable[[], QwenVL]) -> Callable[[str], QwenVL]:
    """Return a function (kind) -> the small random model with quantised layers."""

    def make(kind: Any) -> QwenVL:
        made = new_backbone()
        quantize_layers(made, kind, device="cpu")
        return made

    return make


def make_encoder(backbone: QwenVL, **changes: Any) -> MemoryEncoder:
    recipe = EncoderRecipe(num_heads=4, lora_rank=4, lora_dropout=0.0)
    return MemoryEncoder(backbone, replace(recipe, **changes))


def count_held_bytes(model: torch.nn.Module) -> int:
    """Count the bytes of all weights, with the scales and tables of the quantised ones."""
    held = {name: each for name, each in model.state_dict().items() if "bitsandbytes__" not in name}
    kept = {each.data_ptr(): each.nbytes for name, each in held.items() if not name.endswith("weight_format")}
    return sum(kept.values())


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_layers_of_the_language_model_are_quantised(kind: Any, new_quantized: New, backbone: QwenVL) -> None:
    whole = dict(backbone.model.named_parameters())
    packed, smaller = new_quantized(kind), set()
    for name, weight in packed.model.named_parameters():
        if weight.is_floating_point():
            assert torch.equal(weight, whole[name]), name
        else:
            smaller.add(name.rsplit(".", 2)[1])
    assert smaller == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    saved = count_held_bytes(backbone.model) - count_held_bytes(packed.model)
    assert saved == count_saved_bytes(backbone.model, kind) > 0


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_training_learns_on_a_quantised_backbone_and_changes_none_of_its_weights(
    kind: Any, new_quantized: New, items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]
) -> None:
    encoder = make_encoder(new_quantized(kind))
    before = encoder.backbone.hash_base_weights()
    samples = [TrainingSample.of(each, [item], answer="x") for each, item in zip(questions[:4], items, strict=False)]
    recipe = TrainingRecipe(
        encoder=encoder.recipe, optimizer=OptimizerRecipe(num_steps=4, batch_size=4, learning_rate=1e-2)
    )
    losses: list[float] = []
    for compute in (ComputeOptions(), ComputeOptions(gradient_checkpointing=True, tokens_at_once=100)):
        objective = AnswerFromMemory(encoder, recipe, samples, compute=compute)
        training = Training(objective, recipe.optimizer)
        with torch.inference_mode():  # what a pass without a gradient leaves behind must not break the next one
            encoder.backbone.model.eval()
            encoder.backbone.hidden(encoder.backbone.embed(encoder.prepare(_ask(encoder, questions), generation=True)))
        encoder.set_trainable(True)
        training.run(lambda report: losses.append(report.loss))
        assert all(weight.grad is not None for weight in encoder.parameters().values())
    assert losses[-1] < losses[0] - 0.5
    assert encoder.backbone.hash_base_weights() == before


def _ask(encoder: MemoryEncoder, questions: tuple[Question, ...]) -> list[Any]:
    return [encoder.conversation(each) for each in questions[:2]]


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_without_a_gradient_leaves_the_weights_as_they_are(
    kind: Any, new_quantized: New, questions: tuple[Question, ...]
) -> None:
    packed = new_quantized(kind)
    before = packed.hash_base_weights()
    encoder = make_encoder(packed)
    tokens = encoder.prepare(_ask(encoder, questions), generation=True)
    with torch.inference_mode():
        first = packed.hidden(packed.embed(tokens))
    assert packed.hash_base_weights() == before
    embedded = packed.embed(tokens)
    embedded.embeds_BLD.requires_grad_(True)
    second = packed.hidden(embedded)
    second.sum().backward()
    assert embedded.embeds_BLD.grad is not None and embedded.embeds_BLD.grad.abs().sum() > 0
    torch.testing.assert_close(first, second.detach(), rtol=0.05, atol=0.05 if kind == "int8" else 1e-5)


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_of_a_quantised_backbone_is_loaded_onto_such_a_one_alone(
    kind: Any, new_quantized: New, new_backbone: Callable[[], QwenVL], items: tuple[KnowledgeItem, ...], tmp_path: Path
) -> None:
    encoder, full = make_encoder(new_quantized(kind)), make_encoder(new_backbone())
    described = encoder.save(tmp_path / kind)
    assert described == read_description(tmp_path / kind)
    wanted = full.save(tmp_path / "full")
    assert (described.backbone_quantization, wanted.backbone_quantization) == (kind, "off")
    assert described.backbone_sha256 == wanted.backbone_sha256  # of the weights before they were quantised
    assert described.parameters == wanted.parameters
    assert encoder.encoder_id != full.encoder_id

    again = MemoryEncoder.load(tmp_path / kind, new_quantized(kind))
    assert again.encoder_id == encoder.encoder_id
    torch.testing.assert_close(again.encode_batch(items[:2]), encoder.encode_batch(items[:2]))
    with pytest.raises(
        ValueError, match=rf"in {kind} \(computed in float32\), but .* is loaded in float32; load it in"
    ):
        MemoryEncoder.load(tmp_path / kind, new_backbone())
    with pytest.raises(ValueError, match=rf"in float32, but .* loaded in {kind} \(computed in float32\)"):
        MemoryEncoder.load(tmp_path / "full", new_quantized(kind))


@needs_library
def test_what_would_round_the_weights_anew_is_refused(
    new_quantized: New, items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...], tmp_path: Path
) -> None:
    encoder = MemoryEncoder(load_backbone("tiny", quantization="nf4"), EncoderRecipe(num_heads=4, lora_rank=4))
    encoder.save(tmp_path / "nf4")
    opened = MemoryEncoder.from_pretrained(tmp_path / "nf4")  # quantised as it was, without being told
    assert opened.backbone.quantization == "nf4" and opened.encoder_id == encoder.encoder_id
    with pytest.raises(ValueError, match="in nf4, whose number type cannot be changed to bfloat16"):
        MemoryEncoder.from_pretrained(tmp_path / "nf4", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="backbone in nf4, into whose weights it cannot be merged"):
        export_merged(encoder, tmp_path / "merged", [Probe(question=questions[0], items=items[:1])])


@needs_library
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_a_quantised_model_computes_the_same(
    kind: Any, new_quantized: New, items: tuple[KnowledgeItem, ...]
) -> None:
    encoder = make_encoder(new_quantized(kind))
    copied = copy.deepcopy(encoder.backbone.model)
    before = encoder.encode_batch(items[:2])
    encoder.backbone.model = copied
    torch.testing.assert_close(encoder.encode_batch(items[:2]), before)


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizing, "PACKAGE", "a_library_that_nobody_has")
    assert find_quantization_fault("off") is None
    with pytest.raises(ValueError, match=r"^a backbone in nf4 needs .*pip install -c constraints.txt a_library"):
        load_backbone("tiny", quantization="nf4")
