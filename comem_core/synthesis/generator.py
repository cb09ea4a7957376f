"""What synthesis needs of a model that writes: a `Backbone` is one, and so is a model behind an address."""

from collections.abc import Sequence
from typing import Protocol

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import VisualTokens

BACKBONE, SERVED = "backbone", "served:"
"""How recipes name what writes or judges: the reader itself, or `served:<model>`, one behind an address."""


class Generator(Protocol):
    """Answers conversations, each by itself: what stands beside one in a batch changes nothing."""

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
        """Return one answer a conversation, in their order; where there is none, its `error` says why."""
        ...
