"""Conversations as plain values: turns of text and encoded images, independent of any model."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Turn:
    """One turn. `content` holds texts (str) and encoded images (bytes) in reading order."""

    role: str
    content: tuple[str | bytes, ...]


Conversation = Sequence[Turn]


def without_pictures(conversation: Conversation) -> Conversation:
    """Return the same turns without their pictures, for a reader that sees none."""
    return [
        replace(turn, content=tuple(part for part in turn.content if isinstance(part, str))) for turn in conversation
    ]


@dataclass(frozen=True, kw_only=True)
class Generated:
    """One generated answer with its length. `prompt_tokens` counts image tokens, but not memory vectors.

    `error` says why a served model gave no answer; the text is then empty. `timed_out` means that the time limit was
    reached before the answer was complete. Seconds are an answer's share of its batch: `prefill` lasts until the first
    token, `decode` from then on; None where a server answered, which does not tell. `logprob` is how sure the model is:
    the mean natural log-probability of its tokens, the one that ends the answer included; None where a server answered,
    or the answer was sampled.
    """

    text: str
    prompt_tokens: int
    answer_tokens: int
    truncated: bool
    error: str | None = None
    timed_out: bool = False
    prefill_seconds: float | None = field(default=None, compare=False)
    decode_seconds: float | None = field(default=None, compare=False)
    logprob: float | None = field(default=None, compare=False)
