"""The objective of `smol_cpu`: memory vectors name an item's values in order, and questions are answered from them.

The paper's loss is only that of the answers, through the frozen reader. It gives a few tokens to learn from while the
reader runs over dozens, and a reader of real size is slow on a CPU. Naming does not run the reader: the m-th vector has
to be nearest to the embedding of the m-th value token, which this reader can read as it is (docs/log.md has the
measurement). Both losses are used from the first step on. Every batch is a function of (seed, step).

Shapes: B passages, M vectors of an item, T tokens of the longest item, D width, V vocabulary.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from comem_core.backbone.conversation import Conversation, Turn
from comem_core.backbone.markup import tokenize_text
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.pretraining.curriculum import find_phase_at
from comem_core.pretraining.naming_recipe import NamingPhase, NamingRecipe
from comem_core.pretraining.passages import LANGUAGE, Passage, draw_passage
from comem_core.training.loop import LossObjective
from comem_core.training.loss import compute_token_losses

FILLER = "."


class NamingAndAnswering(LossObjective):
    """The objective (see `training.loop.Objective`). It trains the Q-Former and leaves the LoRA at zero.

    So the backbone reads items once and without gradients. On a CPU, this allows more passages in the same time.
    """

    def __init__(self, encoder: MemoryEncoder, recipe: NamingRecipe):
        self.encoder, self.recipe = encoder, recipe
        self._read: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        encoder.set_trainable(True)
        for name, weight in encoder.parameters().items():
            weight.requires_grad_(name.startswith("qformer."))

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return {name: weight for name, weight in self.encoder.parameters().items() if weight.requires_grad}

    def describe(self) -> Mapping[str, Any]:
        return {"recipe": asdict(self.recipe)}

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        phase, passages, memory_BMD = self._find_phase(step), self.passages(step), self._encode_passages(step)
        named = [self._compute_naming(passages, memory_BMD)]
        for back in phase.named_again:
            if step >= back:
                named.append(self._compute_naming(self.passages(step - back), self._encode_passages(step - back)))
        naming_loss = torch.cat([losses_B for losses_B, _ in named]).mean()
        answer_loss, answered, num_tokens = self._compute_answering(
            passages[: phase.num_asked], memory_BMD, num_questions=phase.num_questions
        )
        return naming_loss + self.recipe.answer_weight * answer_loss, {
            "samples": float(len(passages)),
            "tokens": float(num_tokens),
            "naming_loss": float(naming_loss.detach()),
            "named": named[0][1],
            "answer_loss": float(answer_loss.detach()),
            "answer_accuracy": answered,
        }

    def passages(self, step: int) -> list[Passage]:
        """Draw the step's own passages."""
        random, phase = Random(f"naming-{self.recipe.optimizer.seed}-{step}"), self._find_phase(step)
        return [
            draw_passage(
                random,
                num_facts=random.randint(*phase.num_facts),
                real_share=self.recipe.real_share,
                product_share=self.recipe.product_share,
            )
            for _ in range(phase.num_passages)
        ]

    def _encode_passages(self, step: int) -> Tensor:
        """Return the memory of a step's passages, memory_BMD. The backbone's hidden states are kept for later steps."""
        if step not in self._read:
            conversations = [
                self.encoder.prompts.make_item_conversation(passage.item) for passage in self.passages(step)
            ]
            backbone, size = self.encoder.backbone, self.encoder.recipe.item_visual_tokens
            tokens = backbone.tokenize(conversations, generation=False, visual_tokens=size)
            with torch.no_grad(), backbone.switch_adapter(False):  # the LoRA is zero and would only cost time
                self._read[step] = backbone.hidden(backbone.embed(tokens)), tokens.mask_BL
            while len(self._read) > 1 + max(back for phase in self.recipe.curriculum for back in phase.named_again):
                self._read.popitem(last=False)
        return self.encoder.compress(*self._read[step])

    def _compute_naming(self, passages: Sequence[Passage], memory_BMD: Tensor) -> tuple[Tensor, float]:
        """Return the naming loss of each passage, and the share of value tokens that are nearest to their vector."""
        backbone = self.encoder.backbone
        log_probability_BMV = backbone.logits(memory_BMD * self.recipe.naming_scale).log_softmax(dim=-1)
        losses, right = [], []
        for passage, log_probability_MV in zip(passages, log_probability_BMV, strict=True):
            places, ids = pair_vectors_with_tokens(passage, backbone.tokenizer, num_vectors=memory_BMD.shape[1])
            losses.append(-log_probability_MV[places, ids].mean())
            right += (log_probability_MV.detach().argmax(dim=-1)[places] == torch.tensor(ids)).tolist()
        return torch.stack(losses), sum(right) / len(right)

    def _compute_answering(
        self, passages: Sequence[Passage], memory_BMD: Tensor, *, num_questions: int
    ) -> tuple[Tensor, float, int]:
        """Return the answers' mean loss and share of right tokens, and the number of tokens that the reader read.

        A passage's questions are asked one after the other in one conversation, in random order.
        """
        conversations: list[Conversation] = []
        for passage in passages:
            turns: list[Turn] = [self.encoder.prompts.make_system_turn()]
            for question, answer in passage.questions[:num_questions]:
                turns.append(self.encoder.prompts.make_question_turn(question, passage.item.picture, LANGUAGE))
                turns.append(Turn("assistant", (answer,)))
            conversations.append(turns)
        backbone, size = self.encoder.backbone, self.encoder.recipe.query_visual_tokens
        tokens = backbone.tokenize(conversations, generation=False, visual_tokens=size)
        with backbone.switch_adapter(False):
            hidden_BLD = backbone.hidden(embed_with_memory(backbone, tokens, list(memory_BMD[: len(passages)])))
            losses_S, predicted_S, right_S = compute_token_losses(backbone, hidden_BLD, tokens.ids_BL, tokens.answer_BL)
        return losses_S.mean(), float((predicted_S == right_S).float().mean()), int(tokens.mask_BL.sum())

    def _find_phase(self, step: int) -> NamingPhase:
        return find_phase_at(self.recipe.curriculum, step / self.recipe.optimizer.num_steps)


def pair_vectors_with_tokens(passage: Passage, tokenizer: object, *, num_vectors: int) -> tuple[list[int], list[int]]:
    """Pair vectors with the tokens that they name: returns the vectors' places and the token ids.

    Values follow the order of the text, one vector per token; spare vectors name a full stop. If there are more tokens
    than vectors, they are spread evenly, so that one vector names several neighbouring tokens.
    """
    ids = [each for value in passage.values for each in tokenize_text(tokenizer, f" {value}")]
    ids += tokenize_text(tokenizer, FILLER)[-1:] * (num_vectors - len(ids))
    return [place * num_vectors // len(ids) for place in range(len(ids))], ids
