"""How memories reach a text-only reader, as plain values, and the names of a projection's files. They need no torch."""

from dataclasses import dataclass, field

from comem_core.neutral import OFF_AT_FALSE

WEIGHTS, DESCRIPTION = "transfer.safetensors", "transfer.json"


@dataclass(frozen=True, kw_only=True)
class TransferRecipe:
    """How memories reach the reader."""

    version: str = "2026.11.1"
    # A trained linear map from the encoder's width to the reader's; required if they differ.
    projection: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Put the memory of the question's picture before the question; otherwise the reader gets nothing from the picture.
    question_picture: bool = True
    seed: int = 0
