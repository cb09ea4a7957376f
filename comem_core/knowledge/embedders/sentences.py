"""Sentence embedders: a transformers model in a folder, with mean or first-token pooling. They embed no pictures.

`minilm` (English) comes in a package. Any folder that sentence-transformers wrote works; E5 needs its prefixes.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from comem_core.knowledge.embedders.interface import Embedder

E5_PREFIXES = ("query: ", "passage: ")


class SentenceEmbedder(Embedder):
    """A text encoder that pools token vectors into one. `prefixes` are put before a question and before other texts."""

    def __init__(self, folder: Path, *, name: str, prefixes: tuple[str, str] = ("", ""), device: str = "cpu") -> None:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        self.name, self.device, self.prefixes = name, device, prefixes
        self.model: Any = (
            AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False).to(device).eval()
        )
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.pools_first = _reads_first_token(folder)
        self.width = config.hidden_size
        self.max_tokens = min(self.tokenizer.model_max_length, _read_max_tokens(folder, config.max_position_embeddings))

    def embed_texts(self, texts: Sequence[str], *, as_query: bool) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.width), np.float32)
        prefix = self.prefixes[0 if as_query else 1]
        tokens = self.tokenizer(
            [prefix + text for text in texts],
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(self.device)
        with torch.inference_mode():
            hidden_NLE = self.model(**tokens).last_hidden_state
        pooled_NE = hidden_NLE[:, 0] if self.pools_first else _average(hidden_NLE, tokens["attention_mask"])
        return pooled_NE.float().cpu().numpy()


def _average(hidden_NLE: Tensor, mask_NL: Tensor) -> Tensor:
    weight_NL1 = mask_NL[..., None].to(hidden_NLE.dtype)
    return (hidden_NLE * weight_NL1).sum(1) / weight_NL1.sum(1)


def _reads_first_token(folder: Path) -> bool:
    path = folder / "1_Pooling" / "config.json"
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_cls_token"))


def _read_max_tokens(folder: Path, positions: int) -> int:
    path = folder / "sentence_bert_config.json"
    stated = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") if path.is_file() else None
    return min(stated or positions, positions)
