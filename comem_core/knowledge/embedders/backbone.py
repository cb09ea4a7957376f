"""The reader's own vision tower as an embedder of pictures. It embeds no texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from comem_core.backbone.images import VisualTokens
from comem_core.knowledge.embedders.interface import Embedder

if TYPE_CHECKING:
    from comem_core.backbone.interface import Backbone


class BackboneEmbedder(Embedder):
    """A picture's visual tokens, averaged in the cells of a grid (see `Backbone.pool_images`)."""

    name = "backbone"

    def __init__(self, backbone: "Backbone", *, grid: tuple[int, int], visual_tokens: VisualTokens | None) -> None:
        self.backbone, self.grid, self.visual_tokens = backbone, grid, visual_tokens

    @property
    def width(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.grid[0] * self.grid[1] * self.backbone.width

    def embed_images(self, images: Sequence[bytes]) -> np.ndarray:
        found_NE = self.backbone.pool_images(images, visual_tokens=self.visual_tokens, grid=self.grid)
        return found_NE.float().cpu().numpy()
