"""A training step as the authors' released code takes it: two copies of the model, one sample and one item at a time.

Re-enacted from their repository (WenyiWU0111/CoMEM at 65de858), in which the batch per device is 1, gradients are
accumulated over the batch, every item is encoded alone, and logits are computed for all tokens of the prompt.
"""

from collections.abc import Sequence

import torch
from torch.nn.functional import cross_entropy

from comem_core.backbone.interface import Backbone
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.training.samples import TrainingSample

NOT_SUPERVISED = -100


def accumulate_as_authors(encoder: MemoryEncoder, reader: Backbone, samples: Sequence[TrainingSample]) -> None:
    """Add the gradient of a batch to the encoder's parameters; `reader` is a second copy of its backbone."""
    for sample in samples:
        memory = torch.cat([encoder.memory([item])[0] for item in sample.items])
        conversation = encoder.prompts.make_conversation(
            sample.question, sample.image, sample.language, answer=sample.answer
        )
        tokens = reader.tokenize([conversation], generation=False, visual_tokens=encoder.recipe.query_visual_tokens)
        embedded = embed_with_memory(reader, tokens, [memory])
        logits_PV = reader.logits(reader.hidden(embedded))[0].float()
        labels_L = tokens.ids_BL[0].masked_fill(~tokens.answer_BL[0], NOT_SUPERVISED)
        labels_P = torch.cat([labels_L.new_full((len(memory),), NOT_SUPERVISED), labels_L])
        loss = cross_entropy(logits_PV[:-1], labels_P[1:], ignore_index=NOT_SUPERVISED)
        (loss / len(samples)).backward()
