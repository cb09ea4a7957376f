"""Qwen3-VL behind the interface: like Qwen2.5-VL, but early layers of the language model also take picture features.

Shapes as in `interface`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import ProcessorMixin
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.interface import Family
from comem_core.backbone.qwen_vl import QwenVL, drop_videos


class Qwen3VL(QwenVL):
    """A Qwen3-VL model."""

    PROCESSORS: Mapping[str, type[ProcessorMixin]] = {
        "qwen3_vl": drop_videos(Qwen3VLProcessor, videos="Qwen3VLVideoProcessor")
    }
    vllm_fault = "vLLM makes its pictures wider than its memories (deepstack), and refuses both in one request"

    def embed(self, tokens: Tokens, features: Sequence[Tensor] | None = None) -> Embedded:
        if "pixel_values" not in tokens.images:
            return super().embed(tokens)
        if features is not None:
            raise ValueError("Qwen3-VL also adds picture features in early layers; call embed(tokens) without features")
        seen = self.see(tokens.images)
        deepstack_JPD = torch.stack([torch.cat(list(level)) for level in seen.deepstack_features])
        embedded = super().embed(tokens, seen.pooler_output)
        return replace(embedded, visual_BL=self.mark_pictures(tokens), deepstack_JPD=deepstack_JPD)

    def inputs(self, embedded: Embedded) -> dict[str, Any]:
        if embedded.deepstack_JPD is None or embedded.visual_BL is None:
            return super().inputs(embedded)
        # The class takes features for early layers only together with those of the input, and locates them by the
        # embedding of the image token. So that embedding is restored, and the class inserts the same features again.
        mark_D = self.model.get_input_embeddings()(torch.tensor(self.processor.image_token_id, device=self.device))
        visual: Any = (embedded.embeds_BLD[embedded.visual_BL],)
        levels: Any = [(level_PD,) for level_PD in embedded.deepstack_JPD]
        seen = BaseModelOutputWithDeepstackFeatures(pooler_output=visual, deepstack_features=levels)
        embeds_BLD = torch.where(embedded.visual_BL[..., None], mark_D, embedded.embeds_BLD)
        return super().inputs(replace(embedded, embeds_BLD=embeds_BLD)) | {"mm_encoder_outputs": {"image": seen}}


FAMILY = Family(name="qwen3_vl", model_types=tuple(Qwen3VL.PROCESSORS), backbone=Qwen3VL)
