"""The interface to the model that writes: a `Backbone` implements it, and so does a model behind an address."""

from collections.abc import Sequence
from typing import Protocol

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import VisualTokens

BACKBONE, SERVED = "backbone", "served:"
"""A generator's name in recipes: `backbone`, the reader itself, or `served:<model>`, a model behind an address."""


class Generator(Protocol):
    """Answers conversations, each independently of the others in its batch."""

    @property
    def name(self) -> str: ...

    def answer(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        visual_tokens: VisualTokens | None = None,
    ) -> list[Generated]:
        """Return one answer per conversation, in order; if an answer is missing, its `error` says why."""
        ...
