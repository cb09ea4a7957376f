"""The objective of a transfer: a text-only reader answers from the memories of a VLM's encoder (the paper's Table 5).

The gradient flows through the frozen reader into the projection, and into the encoder if it is trained too.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from comem_core.memory.transfer import TextTransfer
from comem_core.training.batches import PreparedBatch
from comem_core.training.memory import AnswerFromMemory, Memories
from comem_core.training.recipe import ComputeOptions, TrainingRecipe
from comem_core.training.samples import TrainingSample


class KnownMemories(Memories):
    """Memories that are not trained."""

    def __init__(self, memory_BMD: Tensor):
        self.memory_BMD = memory_BMD

    def backward(self) -> None:
        pass


class AnswerThroughTransfer(AnswerFromMemory):
    """Trains the projection, and with `train_encoder` also the encoder. A frozen encoder encodes each item once."""

    def __init__(
        self,
        transfer: TextTransfer,
        recipe: TrainingRecipe,
        samples: Sequence[TrainingSample],
        *,
        train_encoder: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
        compute: ComputeOptions | None = None,
    ):
        super().__init__(
            transfer.encoder,
            recipe,
            samples,
            answering=transfer,
            train_encoder=train_encoder,
            rank=rank,
            num_ranks=num_ranks,
            compute=compute,
        )
        if transfer.projection is None and not train_encoder:
            raise ValueError(
                "nothing to train: this transfer has no projection, and its encoder is frozen; set train_encoder=True "
                "or TransferRecipe(projection=True)"
            )
        self.transfer, self.train_encoder = transfer, train_encoder
        self.known = transfer.encoder.make_bank()

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.transfer.parameters() | (self.encoder.parameters() if self.train_encoder else {})

    def remember(self, batch: PreparedBatch) -> Memories:
        """Encode the items of a batch; a frozen encoder encodes those that are not known yet."""
        if self.train_encoder:
            return super().remember(batch)
        if new := [item for item in batch.items if item.item_id not in self.known]:
            self.known.put([item.item_id for item in new], self.encoder.encode_batch(new))
        memory_VD = self.known.of([item.item_id for item in batch.items])
        return KnownMemories(torch.stack(memory_VD.split(self.encoder.recipe.num_vectors)))
