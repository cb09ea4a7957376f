"""Conversations as plain values: turns of text and encoded images, before any model has seen them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Turn:
    """One turn. `content` holds texts (str) and encoded images (bytes) in the order in which they are read."""

    role: str
    content: tuple[str | bytes, ...]


Conversation = Sequence[Turn]


def without_pictures(conversation: Conversation) -> Conversation:
    """The same turns with their texts alone, for a reader that sees no pictures."""
    return [
        replace(turn, content=tuple(part for part in turn.content if isinstance(part, str))) for turn in conversation
    ]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One generated answer with its length. `prompt_tokens` counts image tokens, but not memory vectors.

    `error` says why there is no answer, where a served model gave none; the text is empty then.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    truncated: bool
    error: str | None = None
