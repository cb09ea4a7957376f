"""Conversations as plain values: turns of text and encoded images, before any model has seen them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One turn. `content` holds texts (str) and encoded images (bytes) in the order in which they are read."""

    role: str
    content: tuple[str | bytes, ...]


Conversation = Sequence[Turn]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One generated answer with its length. `prompt_tokens` counts image tokens, but not memory vectors."""

    text: str
    prompt_tokens: int
    answer_tokens: int
    truncated: bool
