"""The objective of a transfer: a text-only reader answers from the memories of a VLM's encoder (the paper's Table 5).

The gradient flows through the frozen reader into the projection, and into the encoder if it is trained too.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from comem_core.backbone.conversation import without_pictures
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.transfer import TextTransfer
from comem_core.training.memory import AnswerFromMemory, compute_answer_loss, encode_shown
from comem_core.training.recipe import TrainingRecipe
from comem_core.training.samples import TrainingSample


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
    ):
        super().__init__(transfer.encoder, recipe, samples, rank=rank, num_ranks=num_ranks)
        if transfer.projection is None and not train_encoder:
            raise ValueError(
                "nothing to train: this transfer has no projection, and its encoder is frozen; set train_encoder=True "
                "or TransferRecipe(projection=True)"
            )
        self.transfer, self.train_encoder = transfer, train_encoder
        transfer.encoder.set_trainable(train_encoder)
        self.known = transfer.encoder.make_bank()

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.transfer.parameters() | (self.encoder.parameters() if self.train_encoder else {})

    def compute_batch_loss(self, batch: Sequence[TrainingSample]) -> tuple[Tensor, Mapping[str, float]]:
        """Compute the cross-entropy of the answers' tokens alone, as with a VLM."""
        transfer, prompts = self.transfer, self.encoder.prompts
        shown = [transfer.list_shown(sample.items, sample.image, sample.language) for sample in batch]
        memories = encode_shown(self.encoder, shown) if self.train_encoder else self._encode_unknown(shown)
        conversations = [prompts.make_conversation(s.question, s.image, s.language, answer=s.answer) for s in batch]
        tokens = transfer.reader.tokenize([without_pictures(each) for each in conversations], generation=False)
        return compute_answer_loss(transfer.reader, tokens, [transfer.project(memory) for memory in memories])

    def _encode_unknown(self, shown: Sequence[Sequence[KnowledgeItem]]) -> list[Tensor]:
        """Encode the items that are not known yet, and return the memories of each question's items."""
        new = list({item.item_id: item for items in shown for item in items if item.item_id not in self.known}.values())
        if new:
            self.known.put([item.item_id for item in new], self.encoder.encode_batch(new))
        return [self.known.of([item.item_id for item in items]) for items in shown]
