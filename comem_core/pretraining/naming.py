"""The objective of `smol_cpu`: memory vectors name an item's values in order, and questions are answered from them.

The paper's loss is only that of the answers, through the frozen reader. It gives a few tokens to learn from while the
reader runs over dozens, and a reader of real size is slow on a CPU. Naming does not run the reader: the m-th vector has
to be the embedding of the m-th token of the values, with a comma after each value, which this reader can read as it is
(docs/log.md has the measurement). Attention and counts are taught by the same places. Once vectors name, the paper's
loss makes them what the reader answers from. Every batch is a function of (seed, step).

Shapes: B passages, M vectors of an item, T tokens of the longest item, D width, H heads, V tokens to choose from, S
named tokens of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from comem_core.backbone.conversation import Conversation, Turn
from comem_core.backbone.markup import tokenize_text
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.memory.qformer import Read
from comem_core.pretraining.naming_recipe import UNSTATED, NamingRecipe, NamingStage
from comem_core.pretraining.passages import LANGUAGE, Passage
from comem_core.pretraining.stored_readings import StoredReadings, split_text
from comem_core.training.loop import LossObjective
from comem_core.training.loss import compute_token_losses

SEPARATOR = ","
LEAST_WEIGHT = 1e-4  # of attention, so that its logarithm is finite


@dataclass(frozen=True)
class NamedTokens:
    """The tokens that vectors name, S of them: of which passage, which vector, which token id, and where it stands."""

    passages_S: Tensor
    vectors_S: Tensor
    ids_S: Tensor
    places_S: Tensor


class NamingAndAnswering(LossObjective):
    """The objective of one stage (see `training.loop.Objective`). It trains the Q-Former and leaves the LoRA at zero.

    So the backbone reads items before the training, and without gradients.
    """

    def __init__(self, encoder: MemoryEncoder, recipe: NamingRecipe, stage: NamingStage, readings: StoredReadings):
        self.encoder, self.recipe, self.stage, self.readings = encoder, recipe, stage, readings
        encoder.set_trainable(True)
        for name, weight in encoder.parameters().items():
            weight.requires_grad_(name.startswith("qformer."))
        embedding: Any = encoder.backbone.model.get_input_embeddings()
        self.embeddings_VD: Tensor = embedding.weight.detach()

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return {name: weight for name, weight in self.encoder.parameters().items() if weight.requires_grad}

    def describe(self) -> Mapping[str, Any]:
        return {"recipe": asdict(self.recipe), "stage": self.stage.name}

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        random, stage = Random(f"{self.stage.name}-{self.recipe.seed}-{step}"), self.stage
        numbers = random.sample(range(self.readings.num_passages), k=stage.optimizer.batch_size)
        passages = [self.readings.passage(number) for number in numbers]
        read, named, mask_BT = self._read(numbers, passages)
        naming_loss, right = self.compute_naming(read, named, passages, mask_BT, step)
        measures = {"samples": float(len(passages)), "naming_loss": float(naming_loss.detach()), "named": right}
        if not stage.num_questions:
            return stage.naming_weight * naming_loss, measures | {"tokens": float(mask_BT.sum())}
        answer_loss, answered, num_tokens = self._compute_answering(random, passages, read.memory_BMD)
        return stage.naming_weight * naming_loss + answer_loss, measures | {
            "tokens": float(num_tokens),
            "answer_loss": float(answer_loss.detach()),
            "answer_accuracy": answered,
        }

    def _read(self, numbers: Sequence[int], passages: Sequence[Passage]) -> tuple[Read, NamedTokens, Tensor]:
        inputs_BTD, mask_BT, firsts = self.readings.load(numbers)
        backbone, num_vectors = self.encoder.backbone, self.encoder.recipe.num_vectors
        dtype = backbone.model.dtype
        with torch.autocast(backbone.device.type, dtype=dtype, enabled=dtype != torch.float32):
            read = self.encoder.qformer.read(inputs_BTD.to(backbone.device), mask_BT.to(backbone.device))
        named = pair_vectors_with_tokens(
            passages, firsts, backbone.tokenizer, num_vectors=num_vectors, commas=self.recipe.names_commas
        )
        return read._replace(memory_BMD=read.memory_BMD.float()), named, mask_BT

    def compute_naming(
        self, read: Read, named: NamedTokens, passages: Sequence[Passage], mask_BT: Tensor, step: int
    ) -> tuple[Tensor, float]:
        """Return the loss of naming, and the share of the values' tokens that are nearest to their vector.

        It is the sum of how surely each vector tells its token from others, how far it is from its embedding, how much
        its attention misses the token's place, and how well the gate tells tokens that are named from others.
        """
        vectors_SD = read.memory_BMD[named.passages_S, named.vectors_S]
        candidates_V, right_S = self._choose_candidates(named, passages, step)
        logits_SV = self.recipe.naming_scale * vectors_SD @ self.embeddings_VD[candidates_V].float().T
        right_SD = self.embeddings_VD[named.ids_S].float()
        loss = cross_entropy(logits_SV, right_S)
        if self.stage.closeness_weight:
            distance_S = (vectors_SD - right_SD).pow(2).sum(dim=-1) / right_SD.pow(2).sum(dim=-1)
            loss = loss + self.stage.closeness_weight * distance_S.mean()
        weights_BMT = read.weights_BHMT.float().mean(dim=1)
        seen_S = weights_BMT[named.passages_S, named.vectors_S, named.places_S]
        loss = loss - (seen_S + LEAST_WEIGHT).log().mean()
        if read.worth_BT is not None:
            worth_BT = torch.zeros_like(read.worth_BT)
            worth_BT[named.passages_S, named.places_S] = 1.0
            loss = loss + binary_cross_entropy_with_logits(read.worth_BT[mask_BT], worth_BT[mask_BT])
        return loss, float((logits_SV.argmax(dim=-1) == right_S).float().mean())

    def _choose_candidates(self, named: NamedTokens, passages: Sequence[Passage], step: int) -> tuple[Tensor, Tensor]:
        """Return the ids that each vector chooses from, and the place of the right one: what is named, what the
        passages say, and drawn ones. All of a vocabulary would cost more than the Q-Former."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        drawn = torch.randint(len(self.embeddings_VD), (self.recipe.num_drawn_tokens,), generator=generator)
        said = [id_ for each in passages for id_ in split_text(self.encoder.backbone.tokenizer, each.item.text)[0]]
        candidates, places = torch.unique(torch.cat([named.ids_S, torch.tensor(said), drawn]), return_inverse=True)
        return candidates, places[: len(named.ids_S)]

    def _compute_answering(
        self, random: Random, passages: Sequence[Passage], memory_BMD: Tensor
    ) -> tuple[Tensor, float, int]:
        """Return the answers' mean loss and share of right tokens, and the number of tokens that the reader read.

        A passage's questions are asked one after the other in one conversation, in random order.
        """
        conversations: list[Conversation] = []
        memories: list[Tensor] = []
        for place, passage in enumerate(passages):
            turns: list[Turn] = [self.encoder.prompts.make_system_turn()]
            for question, answer in self._choose_questions(random, passage):
                turns.append(self.encoder.prompts.make_question_turn(question, passage.item.picture, LANGUAGE))
                turns.append(Turn("assistant", (answer,)))
            conversations.append(turns)
            shown = [place]
            if random.random() < self.stage.beside_share:
                others = [each for each in range(len(passages)) if each != place]
                shown += random.sample(others, k=random.randint(1, self.stage.max_beside))
                random.shuffle(shown)
            memories.append(memory_BMD[shown].flatten(end_dim=1))
        backbone, size = self.encoder.backbone, self.encoder.recipe.query_visual_tokens
        tokens = backbone.tokenize(conversations, generation=False, visual_tokens=size)
        with backbone.switch_adapter(False):
            hidden_BLD = backbone.hidden(embed_with_memory(backbone, tokens, memories))
            losses_S, predicted_S, right_S = compute_token_losses(backbone, hidden_BLD, tokens.ids_BL, tokens.answer_BL)
        num_tokens = int(tokens.mask_BL.sum()) + sum(map(len, memories))
        return losses_S.mean(), float((predicted_S == right_S).float().mean()), num_tokens

    def _choose_questions(self, random: Random, passage: Passage) -> list[tuple[str, str]]:
        """Return the passage's first questions with their answers; some give way to ones that it leaves open."""
        chosen, unstated = list(passage.questions[: self.stage.num_questions]), list(passage.unstated)
        if self.recipe.unstated_share:
            for place in range(len(chosen)):
                if unstated and random.random() < self.recipe.unstated_share:
                    chosen[place] = (unstated.pop(), UNSTATED)
        return chosen


def pair_vectors_with_tokens(
    passages: Sequence[Passage], firsts: Sequence[int], tokenizer: object, *, num_vectors: int, commas: bool = True
) -> NamedTokens:
    """Pair vectors with the tokens that they name; `firsts` are the places of the first token of each text.

    Values follow the order of the text, one vector a token, and with `commas` one vector after each value names a
    comma, at the place of the next token. A token that is only a blank is not named. If there are more tokens than
    vectors, they are spread evenly, so that one vector names several neighbouring tokens.
    """
    blank, comma = tokenize_text(tokenizer, " ")[:1], tokenize_text(tokenizer, SEPARATOR)[-1]
    rows: list[tuple[int, int, int, int]] = []
    for row, (passage, first) in enumerate(zip(passages, firsts, strict=True)):
        ids, offsets = split_text(tokenizer, passage.item.text)
        named: list[tuple[int, int]] = []
        for start, end in passage.spans:
            inside = [place for place, (at, to) in enumerate(offsets) if to > start and at < end]
            named += [(ids[place], place) for place in inside if [ids[place]] != blank]
            if commas:
                named.append((comma, min(inside[-1] + 1, len(ids) - 1)))
        share = min(1.0, num_vectors / len(named))
        rows += [(row, int(turn * share), id_, first + place) for turn, (id_, place) in enumerate(named)]
    return NamedTokens(*torch.tensor(rows).unbind(dim=1))
