"""The model that is measured: the published shape of Qwen2.5-VL-7B with random weights, and its encoder.

The 7B's own tokenizer does not come with the project. The shipped tiny model's takes its place behind the same
processor, so the configuration names that tokenizer's ids. Its vocabulary is smaller than the model's: the model may
choose ids that stand for no text. Pictures are cut into the 7B's own patches.

Weights start with a small deviation (`workload.GAIN`), so that activations are finite and gradients can be compared.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from comem_core.backbone.configurations import read_configuration
from comem_core.backbone.finding import find_backbone_folder
from comem_core.backbone.quantization import OFF, Quantization, quantize_layers
from comem_core.backbone.qwen_vl import (
    IMAGE_TOKEN,
    TURN_END,
    VIDEO_TOKEN,
    VISION_END,
    VISION_START,
    QwenImageProcessor,
    QwenVL,
)
from comem_core.measures.gpu.workload import CONFIGURATION, RECIPE, Workload
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe

# preprocessor_config.json of Qwen/Qwen2.5-VL-7B-Instruct.
PATCHES: Mapping[str, Any] = {
    "patch_size": 14,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "min_pixels": 3136,
    "max_pixels": 12845056,
}


SPECIAL_TOKENS = {
    "image_token_id": IMAGE_TOKEN,
    "video_token_id": VIDEO_TOKEN,
    "vision_start_token_id": VISION_START,
    "vision_end_token_id": VISION_END,
    "eos_token_id": TURN_END,
}


def make_encoder(workload: Workload, device: torch.device, *, quantization: Quantization = OFF) -> MemoryEncoder:
    """Make the recipe's encoder on a random model in bfloat16, directly on the device; then quantise the model."""
    backbone = make_random_backbone(workload, device)
    quantize_layers(backbone, quantization, device=str(device))
    return MemoryEncoder(backbone, find_recipe(RECIPE).training.encoder)


def make_random_backbone(workload: Workload, device: torch.device) -> QwenVL:
    """Make a random model of the workload's shape in bfloat16, directly on the device."""
    processor = make_processor()
    ids = {name: processor.tokenizer.convert_tokens_to_ids(token) for name, token in SPECIAL_TOKENS.items()}
    padding = {"pad_token_id": processor.tokenizer.pad_token_id, "bos_token_id": None}
    config = read_configuration(CONFIGURATION, **workload.changes, **ids, **padding)
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    backbone = QwenVL(model, processor, workload.recipe)
    # No answer ends before its last token: the end's logit is 0, and that of some other token is above.
    model.lm_head.weight[backbone.markup.end] = 0
    return backbone


def make_processor() -> Any:
    """Make the family's processor with the shipped tokenizer and the 7B's patches."""
    shipped: Any = QwenImageProcessor.from_pretrained(find_backbone_folder("tiny"))
    pixels = Qwen2VLImageProcessorPil(**PATCHES)
    return QwenImageProcessor(pixels, shipped.tokenizer, chat_template=shipped.chat_template)
