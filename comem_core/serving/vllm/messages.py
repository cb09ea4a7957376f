"""A conversation and its memory as one request to vLLM: the memory first, as embeddings, then the turns.

Shapes: V vectors of all items of a question, D width.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from comem_core.backbone.conversation import Conversation, Turn
from comem_core.backbone.images import VisualTokens
from comem_core.backbone.interface import Backbone
from comem_core.serving.vllm.template import ROLE


def make_messages(
    conversation: Conversation, memory_VD: Tensor, backbone: Backbone, *, visual_tokens: VisualTokens | None
) -> list[dict[str, Any]]:
    """Write a conversation for vLLM's chat requests, with its memory (V, D; may have no rows) in front.

    Pictures are sent in the size in which the backbone itself sees them, without loss.

    Raises:
        ValueError: the memory has another width than the backbone, or numbers that are not finite.
    """
    memory = [] if not len(memory_VD) else [{"role": ROLE, "content": [make_memory_part(memory_VD, backbone.width)]}]
    return memory + [_make_message(turn, backbone, visual_tokens) for turn in conversation]


def make_memory_part(memory_VD: Tensor, width: int) -> dict[str, str]:
    """Write vectors (V, D) as a part of a message. Raises ValueError: another width, or numbers that are not finite."""
    if memory_VD.ndim != 2 or memory_VD.shape[1] != width:
        raise ValueError(f"memory of shape {tuple(memory_VD.shape)}, but this reader takes (vectors, {width})")
    if not bool(torch.isfinite(memory_VD).all()):
        raise ValueError("the memory has numbers that are not finite, and vLLM would answer nonsense: encode it again")
    written = io.BytesIO()
    torch.save(memory_VD.detach().cpu().contiguous().clone(), written)
    return {"type": "prompt_embeds", "data": base64.b64encode(written.getvalue()).decode()}


def make_cache_salt(memory_VD: Tensor) -> str | None:
    """Name a memory, so that vLLM keeps cached prefixes of different memories apart; None without a memory.

    vLLM's own name of a cached prefix leaves out embeddings that stand beside tokens (vllm#56655).
    """
    if not len(memory_VD):
        return None
    raw = memory_VD.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(raw).hexdigest()


def _make_message(turn: Turn, backbone: Backbone, visual_tokens: VisualTokens | None) -> dict[str, Any]:
    images = [part for part in turn.content if isinstance(part, bytes)]
    urls = iter(_make_urls(images, backbone, visual_tokens))
    parts = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": next(urls)}}
        for part in turn.content
    ]
    return {"role": turn.role, "content": parts}


def _make_urls(images: Sequence[bytes], backbone: Backbone, visual_tokens: VisualTokens | None) -> list[str]:
    urls = []
    for picture in backbone.fit_pictures(images, visual_tokens=visual_tokens) if images else []:
        written = io.BytesIO()
        picture.save(written, "PNG", compress_level=1)
        urls.append(f"data:image/png;base64,{base64.b64encode(written.getvalue()).decode()}")
    return urls
