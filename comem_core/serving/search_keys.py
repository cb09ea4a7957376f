"""What decides an index and a retrieval, as their records keep it. Stages write it, and opening a store reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from comem_core.backbone.images import VisualTokens
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE

EMBEDDERS = "embedders"
"""What an index's record measured that names embedders by where their weights are, if their kind does not say it."""


@dataclass(frozen=True, kw_only=True)
class IndexKey:
    """Which embedder embeds each side, and up to how many items search is exact.

    `grid` and `visual_tokens` decide how the backbone's vision tower sees a picture; None for other embedders.
    """

    embedders: dict[str, str]
    grid: tuple[int, int] | None = field(default=None, metadata=OFF_AT_NONE)
    visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
    exact_up_to: int


@dataclass(frozen=True, kw_only=True)
class RetrievalKey:
    """How many items are retrieved, by picture or text, and which items are excluded."""

    by: Literal["image", "text", "both"]
    text_weight: float | None = field(default=None, metadata=OFF_AT_NONE)
    k: int
    same_language: bool = field(default=False, metadata=OFF_AT_FALSE)
    exclude_own_image: bool = field(default=False, metadata=OFF_AT_FALSE)


def read_index_key(stated: Mapping[str, Any]) -> IndexKey:
    """Read the key of an index from the recipe in its record."""
    grid, tokens = stated.get("grid"), stated.get("visual_tokens")
    read = {"grid": None if grid is None else tuple(grid)}
    return IndexKey(**{**stated, **read, "visual_tokens": None if tokens is None else VisualTokens(**tokens)})
