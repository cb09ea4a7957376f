"""How a memory is loaded onto this machine, and its encoder with the backbone that it was trained for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from comem_core.backbone.finding import find_backbone_folder
from comem_core.memory.description import read_description
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.questions import PictureLimits

if TYPE_CHECKING:
    from comem_core.serving.memory import Memory


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Where backbone and embedders are, if elsewhere than in the run; number type, device and limits of pictures."""

    backbone: str | None = None
    dtype: torch.dtype | None = None
    device: str = "cpu"
    embedders: Mapping[str, str] = field(default_factory=dict)
    limits: PictureLimits | None = None


def load_encoder(folder: Path, loading: Loading) -> MemoryEncoder:
    """Load an encoder and its backbone.

    Raises:
        ValueError: the backbone is not on this machine, or is another one; or the encoder is damaged.
    """
    name = loading.backbone or read_description(folder).backbone
    try:
        find_backbone_folder(name)
    except ValueError as error:
        raise ValueError(
            f"the backbone {name!r} of this memory is not on this machine: {error}. Say where it is with "
            "comem.open(..., backbone='<folder or hub name>')"
        ) from error
    return MemoryEncoder.from_pretrained(folder, backbone=name, dtype=loading.dtype, device=loading.device)


class MemorySource(ABC):
    """Where a memory was opened, and can be opened again when something newer is there."""

    @abstractmethod
    def find_version(self) -> str:
        """Return the version that opening would give now; only records are read."""

    @abstractmethod
    def read(self, *, previous: "Memory | None" = None) -> "Memory":
        """Open the newest version, with the encoder of the previous one if it is the same."""

    def fetch_training_set(self) -> Path | None:
        """Return the local folder of the samples that the encoder was trained on; None if it is not known."""
        return None
