"""Tiny random models of every family's real classes, each with a real processor assembled offline.

The tokenizer knows bytes and the family's marks; chat templates are the families' own, as their models carry them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE as SMOLVLM_TEMPLATE

from comem_core.backbone.interface import Backbone
from comem_core.backbone.qwen3_vl import Qwen3VL
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.reader import Reader
from comem_core.backbone.smolvlm import SmolVLM, SquareImageProcessor
from comem_core.backbone.text import TextModel

WIDTH, TOKEN_SIDE = 64, 8
PADDING, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
QWEN_MARKS = (PADDING, TURN_START, TURN_END, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
SMOL_MARKS = (PADDING, TURN_START, "<end_of_utterance>", "<fake_token_around_image>", "<global-img>", "<image>")

QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT_CONFIG = {
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
QWEN_VISION = {"patch_size": TOKEN_SIDE // 2, "spatial_merge_size": 2, "temporal_patch_size": 2, "depth": 3}


def byte_tokenizer(marks: Sequence[str], template: str, *, end: str = TURN_END) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: index for index, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(marks))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=end,
        pad_token=PADDING,
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def text_config(tokenizer: PreTrainedTokenizerFast, **others: Any) -> dict[str, Any]:
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    return TEXT_CONFIG | {"vocab_size": len(tokenizer)} | ids | others


def qwen(backbone: type[QwenVL], model: Any, config: Any, *, vision: dict[str, Any], **text: Any) -> QwenVL:
    tokenizer = byte_tokenizer(QWEN_MARKS, QWEN_TEMPLATE)
    named = {"vision_start": QWEN_MARKS[3], "vision_end": QWEN_MARKS[4], "image": QWEN_MARKS[5], "video": QWEN_MARKS[6]}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in named.items()}
    half = TEXT_CONFIG["hidden_size"] // TEXT_CONFIG["num_attention_heads"] // 2
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [half // 4, half * 3 // 8, half * 3 // 8]}
    whole = config(
        text_config=text_config(tokenizer, rope_parameters=rope, **text), vision_config=QWEN_VISION | vision, **ids
    )
    pixels = Qwen2VLImageProcessorPil(
        patch_size=QWEN_VISION["patch_size"],
        merge_size=2,
        temporal_patch_size=2,
        min_pixels=TOKEN_SIDE**2,
        max_pixels=100 * TOKEN_SIDE**2,
    )
    processor: Any = backbone.PROCESSORS[whole.model_type]
    return backbone(model(whole), processor(pixels, tokenizer, chat_template=QWEN_TEMPLATE), "tiny")


def qwen2_vl() -> QwenVL:
    vision = {"embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    return qwen(QwenVL, Qwen2VLForConditionalGeneration, Qwen2VLConfig, vision=vision)


def qwen2_5_vl() -> QwenVL:
    vision = {"hidden_size": 32, "out_hidden_size": WIDTH, "num_heads": 2, "intermediate_size": 48}
    # Windows of 2 x 2 visual tokens in all layers but the last.
    vision |= {"window_size": 2 * TOKEN_SIDE, "fullatt_block_indexes": [2]}
    return qwen(QwenVL, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, vision=vision)


def qwen3_vl() -> QwenVL:
    vision = {"hidden_size": 32, "out_hidden_size": WIDTH, "num_heads": 2, "intermediate_size": 48}
    vision |= {"num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    return qwen(Qwen3VL, Qwen3VLForConditionalGeneration, Qwen3VLConfig, vision=vision, head_dim=16)


def smol(model: Any, config: Any, image_processor: Any) -> SmolVLM:
    tokenizer = byte_tokenizer(SMOL_MARKS, SMOLVLM_TEMPLATE, end="<end_of_utterance>")
    image_size = 6 * TOKEN_SIDE
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": image_size,
        "patch_size": TOKEN_SIDE // 2,
    }
    whole = config(
        text_config=text_config(tokenizer, model_type="llama"),
        vision_config=vision,
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    # As the families' own: large pictures are cut into tiles, unless one asks for none.
    pixels = image_processor(max_image_size={"longest_edge": image_size}, size={"longest_edge": 4 * image_size})
    processor = SquareImageProcessor(pixels, tokenizer, image_seq_len=36, chat_template=SMOLVLM_TEMPLATE)
    return SmolVLM(model(whole), processor, "tiny")


def smolvlm() -> SmolVLM:
    return smol(SmolVLMForConditionalGeneration, SmolVLMConfig, SmolVLMImageProcessorPil)


def idefics3() -> SmolVLM:
    return smol(Idefics3ForConditionalGeneration, Idefics3Config, Idefics3ImageProcessorPil)


def qwen2() -> TextModel:
    tokenizer = byte_tokenizer((PADDING, TURN_START, TURN_END), QWEN_TEMPLATE)
    return TextModel(Qwen2ForCausalLM(Qwen2Config(**text_config(tokenizer))), tokenizer, "tiny")


def llama() -> TextModel:
    tokenizer = byte_tokenizer((PADDING, TURN_START, TURN_END), QWEN_TEMPLATE)
    return TextModel(LlamaForCausalLM(LlamaConfig(**text_config(tokenizer))), tokenizer, "tiny")


# Each kind, with the linear layers in a layer of its language model (q, k, v, o, gate, up, down), which get a LoRA.
VISION_KINDS: Mapping[Callable[[], Backbone], int] = {
    qwen2_vl: 7,
    qwen2_5_vl: 7,
    qwen3_vl: 7,
    smolvlm: 7,
    idefics3: 7,
}
TEXT_KINDS: tuple[Callable[[], Reader], ...] = (qwen2, llama)


def loud(make: Callable[[], Any]) -> Any:
    """A random model whose layers add much, unlike before any training: a wrong position or mask has to show."""
    torch.manual_seed(0)
    made = make()
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if weight.ndim > 1 and (".layers." in name or ".blocks." in name):
                weight.normal_(std=0.2)
    return made


@pytest.fixture(scope="session", params=VISION_KINDS, ids=lambda make: make.__name__)
def vision_kind(request: pytest.FixtureRequest) -> Callable[[], Backbone]:
    """Return the function that makes a random model of one family with pictures."""
    return request.param


@pytest.fixture(scope="session")
def make_family(vision_kind: Callable[[], Backbone]) -> Callable[[], Backbone]:
    """Return a function that makes a model of one family with pictures, always the same one."""
    return lambda: loud(vision_kind)


@pytest.fixture(scope="session")
def num_adapted_in_layer(vision_kind: Callable[[], Backbone]) -> int:
    """Return the number of modules with a LoRA in one layer of the family's language model."""
    return VISION_KINDS[vision_kind]


@pytest.fixture(scope="session")
def family(make_family: Callable[[], Backbone]) -> Backbone:
    """A model of one family with pictures, that no test changes."""
    return make_family()


@pytest.fixture(scope="session", params=(*VISION_KINDS, *TEXT_KINDS), ids=lambda make: make.__name__)
def any_reader(request: pytest.FixtureRequest) -> Reader:
    """A model of any family, those without pictures too, that no test changes."""
    return loud(request.param)


@pytest.fixture(scope="session", params=TEXT_KINDS, ids=lambda make: make.__name__)
def text_model(request: pytest.FixtureRequest) -> TextModel:
    """A text-only model that no test changes."""
    return loud(request.param)
