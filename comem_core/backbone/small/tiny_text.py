"""`tiny-text`: the language model of the shipped tiny Qwen2.5-VL alone, in the class of Qwen2.5's text models.

A Qwen2.5-VL decoder is a Qwen2.5 decoder whose rotary positions run on three axes, which are equal for text. So the
conversion is exact: all weights are copied. The model is made at first use from the shipped weights and loads like any
Qwen2.5 folder. It has no vision tower.
"""

import copy
import re
from pathlib import Path
from typing import Any

from transformers import Qwen2Config, Qwen2ForCausalLM

from comem_core.backbone.finding import SHIPPED, TINY_TEXT, make_derived_folder
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.text import TextModel

VERSION = "2026.11.1"
SOURCE = SHIPPED / "tiny"
# As in Qwen2.5's own template, a turn's content is one string.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SAME = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "initializer_range",
    "bos_token_id", "eos_token_id", "pad_token_id",
)  # fmt: skip


def find_tiny_text_folder() -> Path:
    """Return the converted model's folder below `COMEM_CACHE` or ~/.cache/comem; made at first use (1 s, 7 MB)."""
    sources = [SOURCE / name for name in ("model.safetensors", "config.json", "tokenizer.json")]
    return make_derived_folder(
        TINY_TEXT, VERSION, sources, lambda folder: copy_decoder(QwenVL.load(SOURCE)).save(folder)
    )


def copy_decoder(vlm: QwenVL) -> TextModel:
    """Copy the language model out of a Qwen2.5-VL. On text its logits equal the VLM's."""
    whole: Any = vlm.model.config
    text, rotary = whole.get_text_config(), whole.get_text_config().rope_parameters
    config = Qwen2Config(
        **{name: getattr(text, name) for name in SAME},
        rope_parameters={"rope_type": rotary["rope_type"], "rope_theta": rotary["rope_theta"]},
        tie_word_embeddings=whole.tie_word_embeddings,
    )
    model: Any = Qwen2ForCausalLM(config)
    weights = {
        re.sub(r"^model\.language_model\.", "model.", name): weight
        for name, weight in vlm.model.state_dict().items()
        if not name.startswith("model.visual.")
    }
    model.load_state_dict(weights)
    tokenizer = copy.deepcopy(vlm.tokenizer)
    tokenizer.chat_template = CHAT_TEMPLATE
    return TextModel(model.to(vlm.device, vlm.model.dtype), tokenizer, TINY_TEXT)
