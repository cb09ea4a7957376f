"""The objective of `smol_cpu`: memory vectors name an item's values in order, and questions are answered from them.

The paper's loss is that of the answers alone, through the frozen reader: a few tokens to learn from for dozens that the
reader is run over, and a reader of real size is slow on a CPU. Naming does not run it. The m-th vector has to be
nearest to the m-th value token's own embedding, which this reader can read as it is (docs/log.md has the measurement).
Both losses are there from the first step on. Every batch is a function of (seed, step).

Shapes: B passages, M vectors of an item, T tokens of the longest item, D width, V vocabulary.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor, nn

from comem_core.backbone.conversation import Conversation, Turn
from comem_core.backbone.images import VisualTokens
from comem_core.backbone.markup import tokenize_text
from comem_core.memory.encoder import EncoderRecipe, MemoryEncoder
from comem_core.memory.injection import inject
from comem_core.pretraining.curriculum import find_phase_at
from comem_core.pretraining.passages import LANGUAGE, Passage, draw_passage
from comem_core.training.loop import OptimizerRecipe
from comem_core.training.loss import compute_token_losses

FILLER = "."


@dataclass(frozen=True, kw_only=True)
class NamingPhase:
    """One part of the curriculum, for `share` of all steps: how many facts a passage has, how many passages a step has,
    and how many of these are asked about, with how many questions each.

    Values are named for the step's passages and those of earlier steps, so many steps back; these are not read again.
    """

    share: float
    num_facts: tuple[int, int]
    num_passages: int = 8
    num_asked: int = 2
    num_questions: int = 2
    named_again: tuple[int, ...] = (10, 20)


# Few facts first: their values have a vector for each token.
NAMING_CURRICULUM = (
    NamingPhase(share=0.7, num_facts=(1, 2)),
    NamingPhase(share=0.3, num_facts=(1, 4)),
)


@dataclass(frozen=True, kw_only=True)
class NamingRecipe:
    """What decides the encoder of `smol_cpu`."""

    version: str = "2026.11.1"
    encoder: EncoderRecipe = field(
        default_factory=lambda: EncoderRecipe(
            lora_rank=1,
            lora_alpha=2,
            lora_dropout=0.0,
            num_heads=9,
            prompts="smol",
            item_visual_tokens=VisualTokens(max=6),
            query_visual_tokens=VisualTokens(max=1),
            match_embedding_norm=True,
            copying_start=True,
        )
    )
    optimizer: OptimizerRecipe = field(
        default_factory=lambda: OptimizerRecipe(
            num_steps=360,
            batch_size=8,
            learning_rate=1e-3,
            weight_decay=0.01,
            betas=(0.9, 0.98),
            gradient_clip=1.0,
            final_learning_rate_ratio=0.05,
        )
    )
    curriculum: tuple[NamingPhase, ...] = NAMING_CURRICULUM
    answer_weight: float = 0.5
    real_share: float = 0.25
    product_share: float = 0.2
    # Inner products of memory and embeddings become logits by this factor (both have a norm of about 3.2).
    naming_scale: float = 4.0


class NamingAndAnswering:
    """The objective (see `training.loop.Objective`). It trains the Q-Former and leaves the LoRA at nothing: so items
    are read once and without gradients, which on a CPU is worth more passages."""

    def __init__(self, encoder: MemoryEncoder, recipe: NamingRecipe):
        self.encoder, self.recipe = encoder, recipe
        self._read: OrderedDict[int, tuple[Tensor, Tensor]] = OrderedDict()
        encoder.set_trainable(True)
        for name, weight in encoder.parameters().items():
            weight.requires_grad_(name.startswith("qformer."))

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return {name: weight for name, weight in self.encoder.parameters().items() if weight.requires_grad}

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        phase, passages, memory_BMD = self._phase(step), self.passages(step), self._memory(step)
        named = [self._naming(passages, memory_BMD)]
        for back in phase.named_again:
            if step >= back:
                named.append(self._naming(self.passages(step - back), self._memory(step - back)))
        naming_loss = torch.cat([losses_B for losses_B, _ in named]).mean()
        compute_answer_loss, answered, num_tokens = self._answering(
            passages[: phase.num_asked], memory_BMD, num_questions=phase.num_questions
        )
        return naming_loss + self.recipe.answer_weight * compute_answer_loss, {
            "samples": float(len(passages)),
            "tokens": float(num_tokens),
            "naming_loss": float(naming_loss.detach()),
            "named": named[0][1],
            "compute_answer_loss": float(compute_answer_loss.detach()),
            "answer_accuracy": answered,
        }

    def passages(self, step: int) -> list[Passage]:
        """The step's own passages."""
        random, phase = Random(f"naming-{self.recipe.optimizer.seed}-{step}"), self._phase(step)
        return [
            draw_passage(
                random,
                num_facts=random.randint(*phase.num_facts),
                real_share=self.recipe.real_share,
                product_share=self.recipe.product_share,
            )
            for _ in range(phase.num_passages)
        ]

    def _memory(self, step: int) -> Tensor:
        """Memory of a step's passages, memory_BMD. What the backbone said of them is kept for later steps."""
        if step not in self._read:
            conversations = [
                self.encoder.prompts.make_item_conversation(passage.item) for passage in self.passages(step)
            ]
            backbone, size = self.encoder.backbone, self.encoder.recipe.item_visual_tokens
            tokens = backbone.tokenize(conversations, generation=False, visual_tokens=size)
            with torch.no_grad(), backbone.switch_adapter(False):  # the LoRA adds nothing, and costs time
                self._read[step] = backbone.hidden(backbone.embed(tokens)), tokens.mask_BL
            while len(self._read) > 1 + max(back for phase in self.recipe.curriculum for back in phase.named_again):
                self._read.popitem(last=False)
        return self.encoder.compress(*self._read[step])

    def _naming(self, passages: Sequence[Passage], memory_BMD: Tensor) -> tuple[Tensor, float]:
        """How surely the vectors of each memory name the tokens of its passage's values: the loss of each passage, and
        the share of tokens that are the very nearest to their vector."""
        backbone = self.encoder.backbone
        log_probability_BMV = backbone.logits(memory_BMD * self.recipe.naming_scale).log_softmax(dim=-1)
        losses, right = [], []
        for passage, log_probability_MV in zip(passages, log_probability_BMV, strict=True):
            places, ids = pair_vectors_with_tokens(passage, backbone.tokenizer, num_vectors=memory_BMD.shape[1])
            losses.append(-log_probability_MV[places, ids].mean())
            right += (log_probability_MV.detach().argmax(dim=-1)[places] == torch.tensor(ids)).tolist()
        return torch.stack(losses), sum(right) / len(right)

    def _answering(
        self, passages: Sequence[Passage], memory_BMD: Tensor, *, num_questions: int
    ) -> tuple[Tensor, float, int]:
        """Mean loss and share of right tokens of the answers, and how many tokens the reader took. A passage's
        questions are asked one after the other in one conversation, in random order."""
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
            hidden_BLD = backbone.hidden(inject(backbone.embed(tokens), list(memory_BMD[: len(passages)])))
            losses_S, predicted_S, right_S = compute_token_losses(backbone, hidden_BLD, tokens.ids_BL, tokens.answer_BL)
        return losses_S.mean(), float((predicted_S == right_S).float().mean()), int(tokens.mask_BL.sum())

    def _phase(self, step: int) -> NamingPhase:
        return find_phase_at(self.recipe.curriculum, step / self.recipe.optimizer.num_steps)


def pair_vectors_with_tokens(passage: Passage, tokenizer: object, *, num_vectors: int) -> tuple[list[int], list[int]]:
    """Pair vectors with the tokens that they name. Values follow the order of the text, a vector a token; what remains
    names a full stop. More tokens than vectors are spread evenly, so that a vector names its neighbours together."""
    ids = [each for value in passage.values for each in tokenize_text(tokenizer, f" {value}")]
    ids += tokenize_text(tokenizer, FILLER)[-1:] * (num_vectors - len(ids))
    return [place * num_vectors // len(ids) for place in range(len(ids))], ids
