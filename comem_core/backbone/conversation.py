"""Conversations as plain values: turns of text and encoded images, before any model has seen them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace


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

    `error` says why there is no answer, where a served model gave none; the text is empty then. `timed_out` means that
    the time allowed was over before the answer was. Seconds are an answer's share of its batch: `prefill` until the
    first token was there, `decode` from then on.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    truncated: bool
    error: str | None = None
    timed_out: bool = False
    prefill_seconds: float = field(default=0.0, compare=False)
    decode_seconds: float = field(default=0.0, compare=False)
