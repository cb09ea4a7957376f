"""The one interface to embedders, which turn pictures and texts into vectors. Independent of any model.

Shapes: N pictures or texts, E width of an embedding.
"""

from collections.abc import Sequence

import numpy as np


class Embedder:
    """Turns encoded pictures, texts, or both into vectors of one space. A subclass overrides the methods it supports.

    `name` is its name in recipes; `width` is E.
    """

    name: str
    width: int

    def embed_images(self, images: Sequence[bytes]) -> np.ndarray:
        """Return float32 embeddings (N, E) of encoded pictures; they need not be normalised.

        Raises:
            ValueError: this embedder sees no pictures, or one is unreadable.
        """
        raise ValueError(f"the embedder {self.name!r} sees no pictures; name one that does in retrieval.embedder")

    def embed_texts(self, texts: Sequence[str], *, as_query: bool) -> np.ndarray:
        """Return float32 embeddings (N, E) of texts. Some models embed questions (`as_query`) unlike other texts.

        Raises:
            ValueError: this embedder reads no texts.
        """
        raise ValueError(f"the embedder {self.name!r} reads no texts; name one that does in retrieval.text_embedder")
