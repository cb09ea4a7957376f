"""CLIP and SigLIP through transformers, from a hub name or a folder: pictures and texts in one space."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from comem_core.backbone.images import decode
from comem_core.knowledge.embedders.interface import Embedder

# By `model_type`. SigLIP was trained on texts padded to a fixed length, and needs that padding.
PADDING: Mapping[str, bool | str] = {"clip": True, "siglip": "max_length"}


class ContrastiveEmbedder(Embedder):
    """A model with two towers, trained so that pictures and their captions get similar embeddings."""

    def __init__(self, folder: Path, *, name: str, device: str = "cpu") -> None:
        """Load a model from a folder. Raises ValueError for another family."""
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if config.model_type not in PADDING:
            raise ValueError(f"{folder} holds a {config.model_type!r} model; expected one of {', '.join(PADDING)}")
        self.name, self.device = name, device
        self.model: Any = (
            AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).to(device).eval()
        )
        self.image_processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.padding = PADDING[config.model_type]
        self.max_tokens = config.text_config.max_position_embeddings
        self.width = getattr(config, "projection_dim", None) or config.vision_config.hidden_size

    def embed_images(self, images: Sequence[bytes]) -> np.ndarray:
        if not images:
            return np.zeros((0, self.width), np.float32)
        pixels = self.image_processor(images=[decode(image) for image in images], return_tensors="pt").to(self.device)
        with torch.inference_mode():
            return self.model.get_image_features(**pixels).pooler_output.float().cpu().numpy()

    def embed_texts(self, texts: Sequence[str], *, as_query: bool) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.width), np.float32)
        tokens = self.tokenizer(
            list(texts), padding=self.padding, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            return self.model.get_text_features(**tokens.to(self.device)).pooler_output.float().cpu().numpy()
