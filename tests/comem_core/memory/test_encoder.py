"""The encoder beside its reader: what it reads, what it adds, and that the reader never changes."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from comem_core.backbone.interface import Backbone
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.prompts import read_prompt_set
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample

Items = tuple[KnowledgeItem, ...]
Questions = tuple[Question, ...]
NewEncoder = Callable[..., MemoryEncoder]


def train_a_little(
    encoder: MemoryEncoder, items: Items, questions: Questions, *, num_steps: int = 3, learning_rate: float = 1e-2
) -> None:
    samples = [TrainingSample.of(each, items[:2]) for each in questions[:3]]
    recipe = TrainingRecipe(
        encoder=encoder.recipe,
        optimizer=OptimizerRecipe(num_steps=num_steps, batch_size=3, learning_rate=learning_rate),
    )
    Training(AnswerFromMemory(encoder, recipe, samples), recipe.optimizer).run(lambda report: None)
    encoder.set_trainable(False)


def base_hashes(backbone: Backbone) -> dict[str, str]:
    """The hash of every weight and buffer that is not of a LoRA, by the name it has without a LoRA."""
    return {
        name.replace(".base_layer", ""): hashlib.sha256(
            tensor.contiguous().view(torch.uint8).numpy().tobytes()
        ).hexdigest()
        for name, tensor in backbone.model.state_dict().items()
        if "lora_" not in name
    }


def logits_of(backbone: Backbone, questions: Questions) -> Tensor:
    conversations = [
        read_prompt_set("short").make_conversation(each.question, each.image, each.language) for each in questions
    ]
    with torch.inference_mode(), backbone.switch_adapter(False):
        tokens = backbone.tokenize(conversations, generation=True)
        return backbone.logits(backbone.hidden(backbone.embed(tokens)))


def test_a_batch_of_items_is_encoded_as_one_at_a_time(encoder: MemoryEncoder, items: Items):
    together_BMD = encoder.encode_batch(items)
    assert together_BMD.shape == (6, 8, 64)
    for row, item in enumerate(items):
        torch.testing.assert_close(encoder.encode_batch([item])[0], together_BMD[row], rtol=1e-4, atol=1e-4)
    assert min(torch.pdist(together_BMD.flatten(1)).tolist()) > 0.1


def test_a_memory_depends_on_picture_text_and_language_of_its_item_alone(encoder: MemoryEncoder, items: Items):
    first, second = items[0], items[1]
    plain_MD = encoder.encode_batch([first])[0]
    for changed in (
        replace(first, image=second.image),
        replace(first, text=second.text),
        replace(first, language=second.language),
    ):
        assert (encoder.encode_batch([changed])[0] - plain_MD).abs().max() > 1e-3
    renamed = replace(first, title="another", source="another", licence="another", entity_id="another")
    assert torch.equal(encoder.encode_batch([renamed])[0], plain_MD)


def test_lora_is_on_every_linear_layer_but_the_head_in_language_model_and_vision_tower(
    backbone: QwenVL, encoder: MemoryEncoder
):
    linear = {name for name, module in backbone.model.named_modules() if isinstance(module, nn.Linear)}
    adapted = {name.split(".lora_A")[0] for name in encoder.parameters() if ".lora_A" in name}
    assert adapted == linear - {"lm_head"} == set(backbone.list_lora_targets())
    parts = [name.split(".")[1] for name in adapted]
    assert parts.count("language_model") == 2 * 7  # q, k, v, o, gate, up, down
    assert parts.count("visual") == 2 * 5 + 2  # qkv, proj, three of the MLP; two of the merger


def test_with_the_lora_off_the_model_is_bit_for_bit_what_it_was_before(
    backbone: QwenVL, new_encoder: NewEncoder, items: Items, questions: Questions
):
    before = logits_of(backbone, questions[:3])
    encoder = new_encoder()
    assert torch.equal(logits_of(encoder.backbone, questions[:3]), before)
    untrained = encoder.encode_batch(items[:1])
    train_a_little(encoder, items, questions)
    encoder.encode_batch(items[:1])  # leaves the LoRA on
    assert torch.equal(logits_of(encoder.backbone, questions[:3]), before)
    assert not torch.equal(encoder.encode_batch(items[:1]), untrained)
    conversation = read_prompt_set("short").make_conversation(questions[0].question, questions[0].image, "en")
    assert encoder.backbone.answer([conversation], max_new_tokens=5) == backbone.answer(
        [conversation], max_new_tokens=5
    )


def test_pictures_are_embedded_for_retrieval_by_the_untouched_vision_tower(
    backbone: QwenVL, encoder: MemoryEncoder, items: Items
):
    encoder.encode_batch(items[:1])  # leaves the LoRA on
    pictures = [item.picture for item in items[:3]]
    adapted = encoder.backbone.pool_images(pictures)
    assert torch.equal(adapted, backbone.pool_images(pictures))


def test_training_leaves_every_base_weight_and_changes_every_weight_of_lora_and_qformer(
    backbone: QwenVL, new_encoder: NewEncoder, items: Items, questions: Questions
):
    encoder = new_encoder(lora_dropout=0.05)
    hashes, name = base_hashes(backbone), backbone.hash_base_weights()
    assert base_hashes(encoder.backbone) == hashes
    start = {name: weight.detach().clone() for name, weight in encoder.parameters().items()}
    train_a_little(encoder, items, questions)
    assert base_hashes(encoder.backbone) == hashes
    assert encoder.backbone.hash_base_weights() == name
    unchanged = [name for name, weight in encoder.parameters().items() if torch.equal(weight, start[name])]
    assert unchanged == []


def test_on_a_bfloat16_backbone_the_papers_small_steps_are_not_lost_to_rounding(
    new_backbone: Callable[[], QwenVL], items: Items, questions: Questions
):
    half = new_backbone()
    half.model.bfloat16()
    encoder = MemoryEncoder(half, EncoderRecipe(num_heads=4, lora_rank=4))
    assert {weight.dtype for weight in encoder.parameters().values()} == {torch.float32}
    norm = encoder.parameters()["qformer.norm_out.weight"]  # starts at ones, where bfloat16 has steps of 0.4 %
    before, hashes = norm.detach().clone(), base_hashes(half)
    train_a_little(encoder, items, questions, learning_rate=5e-5)
    moved = (norm.detach() - before).abs()
    assert 0 < float(moved.max()) < 1e-3
    assert float((moved > 0).float().mean()) > 0.9
    assert base_hashes(half) == hashes
    assert encoder.encode_batch(items[:1]).dtype == torch.bfloat16


def test_one_changed_bit_of_the_base_changes_its_name(new_backbone: Callable[[], QwenVL]):
    changed = new_backbone()
    before = changed.hash_base_weights()
    weight = next(changed.model.parameters())
    weight.data.view(torch.int32).flatten()[0] ^= 1
    assert changed.hash_base_weights() != before


def test_switching_the_lora_leaves_gradients_as_they_were(new_encoder: NewEncoder):
    encoder = new_encoder()
    for trainable in (True, False):
        encoder.set_trainable(trainable)
        for enabled in (True, False, True):
            with encoder.backbone.switch_adapter(enabled):
                assert {weight.requires_grad for weight in encoder.parameters().values()} == {trainable}
        own = {id(weight) for weight in encoder.parameters().values()}
        assert not any(each.requires_grad for each in encoder.backbone.model.parameters() if id(each) not in own)


def test_answers_in_a_row_leave_the_lora_as_it_is(
    new_encoder: NewEncoder, items: Items, questions: Questions, monkeypatch: pytest.MonkeyPatch
):
    encoder = new_encoder()
    bank, asked = encoder.encode(items), [encoder.conversation(question) for question in questions]
    model, switched = encoder.backbone.model, []
    for name in ("enable_adapters", "disable_adapters"):
        switch = getattr(model, name)
        monkeypatch.setattr(model, name, lambda name=name, switch=switch: (switched.append(name), switch()))
    first, second = (encoder.answer(questions, bank, k=1, max_new_tokens=4, batch_size=1) for _ in range(2))
    alone = encoder.backbone.answer(asked, max_new_tokens=4)
    assert first == second
    assert len(switched) < 2  # `encode` ended with one of the two
    again = encoder.encode(items)
    assert "enable_adapters" in switched
    assert [again.of((item.item_id,)).tolist() for item in items] == [
        bank.of((each.item_id,)).tolist() for each in items
    ]
    assert [each.text for each in encoder.backbone.answer(asked, max_new_tokens=4)] == [each.text for each in alone]
    assert switched[-1] == "disable_adapters"


def test_a_backbone_without_a_lora_cannot_switch_it_on(backbone: QwenVL):
    with pytest.raises(ValueError, match="has no LoRA"), backbone.switch_adapter(True):
        pass


def test_the_reported_counts_are_those_of_the_tensors(backbone: QwenVL, new_encoder: NewEncoder):
    encoder = new_encoder(lora_rank=3)
    targets = backbone.list_lora_targets()
    linear: list[Any] = [module for name, module in backbone.model.named_modules() if name in targets]
    assert encoder.count_parameters() == {
        "lora": sum(3 * (module.in_features + module.out_features) for module in linear),
        "qformer": 14 * 64**2 + 18 * 64,
        "backbone": sum(weight.numel() for weight in backbone.model.parameters()),
    }


def test_the_empty_memory_is_what_the_qformer_says_of_nothing(encoder: MemoryEncoder, items: Items):
    empty_MD = encoder.empty_memory()
    assert empty_MD.shape == (8, 64)
    hidden_BTD = torch.randn(1, 5, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            encoder.qformer(hidden_BTD, torch.zeros(1, 5, dtype=torch.bool))[0], empty_MD, rtol=1e-5, atol=1e-5
        )
    assert (encoder.encode_batch(items[:1])[0] - empty_MD).abs().max() > 1e-3


def test_memory_can_start_at_the_norm_of_token_embeddings(backbone: QwenVL, new_encoder: NewEncoder, items: Items):
    embeddings_VD: Any = backbone.model.get_input_embeddings().weight
    embedding_norm = float(embeddings_VD.norm(dim=-1).square().mean().sqrt())
    matched = new_encoder(match_embedding_norm=True).encode_batch(items[:2])
    assert matched.norm(dim=-1).flatten().tolist() == pytest.approx([embedding_norm] * 16, rel=0.05)
    plain = new_encoder().encode_batch(items[:2])
    assert plain.norm(dim=-1).flatten().tolist() == pytest.approx([8.0] * 16, rel=0.05)


def test_an_encoder_starts_the_same_from_the_same_seed_and_differently_from_another(
    new_encoder: NewEncoder, items: Items
):
    first, again, other = (new_encoder(seed=seed).encode_batch(items[:1]) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_prompt_set_that_does_not_exist_is_refused(new_backbone: Callable[[], QwenVL]):
    with pytest.raises(ValueError, match="unknown prompt set 'loud'"):
        MemoryEncoder(new_backbone(), EncoderRecipe(num_heads=4, prompts="loud"))
