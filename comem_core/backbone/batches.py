"""Batches of conversations as a model takes them: as token ids, and as embeddings.

Shapes: B conversations, L tokens of the longest one, D model width; P visual tokens in a batch, in reading order; J
early layers that take picture features. Batches are left-padded.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """A left-padded batch of conversations as the processor made it.

    ids_BL int64; mask_BL bool (False = padding); answer_BL bool: the assistant's tokens, its end token and newline
    included (they are supervised: paper section 3 and reference code); images: the family's picture tensors.
    """

    ids_BL: Tensor
    mask_BL: Tensor
    answer_BL: Tensor
    images: dict[str, Tensor]

    def to(self, device: torch.device) -> "Tokens":
        """Return the same batch on a device."""
        images = {name: tensor.to(device) for name, tensor in self.images.items()}
        return Tokens(self.ids_BL.to(device), self.mask_BL.to(device), self.answer_BL.to(device), images)

    @property
    def lengths(self) -> list[int]:
        """The number of tokens of each conversation, without padding."""
        return self.mask_BL.sum(dim=1).tolist()


@dataclass(frozen=True)
class Embedded:
    """A language model's input: embeds_BLD, mask_BL bool, positions_3BL int64 (M-RoPE axes; equal axes for text).

    Families whose early layers also take picture features (Qwen3-VL) add two fields: visual_BL bool marks the visual
    tokens, and deepstack_JPD is added at them. Vectors put in front of a row shift these tokens but keep their order.
    """

    embeds_BLD: Tensor
    mask_BL: Tensor
    positions_3BL: Tensor
    visual_BL: Tensor | None = None
    deepstack_JPD: Tensor | None = None
