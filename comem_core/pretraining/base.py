"""The pretraining task of the tiny base: reading items about imaginary countries, and finding an item by its flag.

There are three losses on one batch: cross-entropy on the answers; cross-entropy on the prompts' text, which teaches
what kind of value is expected where; and a contrastive loss (InfoNCE), which pulls the question's picture towards the
picture of its item, among all items of the batch. A recipe with guidance adds losses on attention
(`pretraining.guidance`). Every batch is a function of (seed, step).

Shapes: Q questions of a batch, N items of a batch, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from comem_core.backbone.batches import Tokens
from comem_core.backbone.conversation import Turn
from comem_core.backbone.interface import pool_cells
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.pretraining.base_recipe import Phase, PretrainingRecipe
from comem_core.pretraining.curriculum import find_phase_at
from comem_core.pretraining.encoder_recipe import GuidanceRecipe
from comem_core.pretraining.guidance import (
    compute_finding_loss,
    compute_gathering_loss,
    compute_guided_heads,
    find_places_of_answers,
    watch,
)
from comem_core.prompts import PromptSet, read_prompt_set
from comem_core.training.loop import LossObjective
from comem_core.training.loss import compute_token_losses
from comem_core.worlds.countries.world import read_templates
from comem_core.worlds.imaginary.countries import ImaginaryCountry, draw_country, draw_question, draw_rival


@dataclass
class _Batch:
    """Conversations, and for the contrastive loss the places of the items' pictures, of the questions' pictures, and of
    each question's item."""

    conversations: list[list[Turn]]
    item_images: list[int]
    question_images: list[int]
    item_of_question: list[int]


class ReadingObjective(LossObjective):
    """The pretraining objective (see `training.loop.Objective`)."""

    def __init__(self, backbone: QwenVL, recipe: PretrainingRecipe):
        self.backbone, self.recipe, self.prompts = backbone, recipe, read_prompt_set(recipe.prompts)
        self.backbone.model.requires_grad_(True)

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return dict(self.backbone.model.named_parameters())

    def describe(self) -> Mapping[str, Any]:
        return {"recipe": asdict(self.recipe)}

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        batch = self._draw_batch(step)
        tokens = self.backbone.tokenize(batch.conversations, generation=False)
        features = self.backbone.compute_image_features(tokens)
        embedded = self.backbone.embed(tokens, features)
        guidance: Tensor | float = 0.0
        if self.recipe.guidance is None:
            hidden_BLD = self.backbone.hidden(embedded)
        else:
            watched = watch(self.backbone, embedded)
            hidden_BLD = watched.hidden_BLD
            guidance = self._compute_guidance(self.recipe.guidance, watched.attentions, tokens, batch)
        losses_S, predicted_S, right_S = compute_token_losses(
            self.backbone, hidden_BLD, tokens.ids_BL, tokens.answer_BL
        )
        document_BL = self.backbone.mark_text(tokens) & ~tokens.answer_BL
        document_loss = compute_token_losses(self.backbone, hidden_BLD, tokens.ids_BL, document_BL)[0].mean()
        loss = losses_S.mean() + self.recipe.document_weight * document_loss + guidance
        value_S = ~torch.isin(right_S, self.backbone.turn_end_ids)
        measures = {
            "samples": float(len(batch.conversations)),
            "tokens": float(tokens.mask_BL.sum()),
            "answer_accuracy": float((predicted_S == right_S)[value_S].float().mean()),
            "value_loss": float(losses_S[value_S].mean().detach()),
            "document_loss": float(document_loss.detach()),
            "items": len(batch.item_images) / len(batch.conversations),
        }
        if len(batch.item_images) > 1 and batch.question_images:
            contrastive, matched = self._compute_contrastive(batch, features, tokens)
            loss = loss + self.recipe.contrastive_weight * contrastive
            measures["match_accuracy"] = matched
        return loss, measures

    def _compute_guidance(
        self, recipe: GuidanceRecipe, attentions: Sequence[Tensor], tokens: Tokens, batch: _Batch
    ) -> Tensor | float:
        if not batch.item_images and not batch.question_images:
            return 0.0
        gathering = compute_guided_heads(attentions, recipe.gathering_layer, recipe)
        finding = compute_guided_heads(attentions, recipe.finding_layer, recipe)
        num_items = len(batch.item_images) // len(batch.conversations)
        places = find_places_of_answers(self.backbone, tokens, [item % num_items for item in batch.item_of_question])
        return recipe.gathering_weight * compute_gathering_loss(
            gathering, self.backbone, tokens
        ) + recipe.finding_weight * compute_finding_loss(finding, places)

    def _compute_contrastive(self, batch: _Batch, features: tuple[Tensor, ...], tokens: Tokens) -> tuple[Tensor, float]:
        pooled = pool_cells(self.backbone.cut_into_grids(features, tokens), self.recipe.contrastive_grid)
        items_ND = normalize(pooled[batch.item_images], dim=-1)
        questions_QD = normalize(pooled[batch.question_images], dim=-1)
        scores_QN = questions_QD @ items_ND.T / self.recipe.contrastive_temperature
        right_Q = torch.tensor(batch.item_of_question)
        return cross_entropy(scores_QN, right_Q), float((scores_QN.argmax(dim=1) == right_Q).float().mean())

    def _find_phase(self, step: int) -> Phase:
        return find_phase_at(self.recipe.curriculum, step / self.recipe.optimizer.num_steps)

    def _draw_batch(self, step: int) -> _Batch:
        random = Random(f"{self.recipe.optimizer.seed}-{step}")
        phase = self._find_phase(step)
        num_items = random.choice(phase.item_counts)
        asks = len(phase.item_counts) > 1 and random.random() < self.recipe.ask_share
        batch = _Batch([], [], [], [])
        num_images = 0
        for _ in range(phase.num_conversations):
            language = random.choice(self.recipe.languages)
            countries = _draw_countries(random, language, phase, count=max(1, num_items))
            if asks:
                batch.conversations.append(_make_asking(random, countries[0], self.prompts))
                num_images += 1
                continue
            first_item = len(batch.item_images)
            turns = [self.prompts.make_system_turn()]
            for country in countries[:num_items]:
                turns.append(self.prompts.make_item_turn(country.item(random)))
                batch.item_images.append(num_images)
                num_images += 1
            for _ in range(phase.num_questions if num_items else 1):
                first = phase.first_share and random.random() < phase.first_share
                about = 0 if first else random.randrange(len(countries))
                question, answer = draw_question(random, countries[about])
                picture = countries[about].picture(random)
                turns += [self.prompts.make_question_turn(question, picture, language), Turn("assistant", (answer,))]
                if num_items:
                    batch.question_images.append(num_images)
                    batch.item_of_question.append(first_item + about)
                num_images += 1
            batch.conversations.append(turns)
        return batch


def _draw_countries(random: Random, language: str, phase: Phase, *, count: int) -> list[ImaginaryCountry]:
    """Draw the countries of one conversation, in the order of their items."""
    if not phase.rivals:
        return [draw_country(random, language, num_facts=random.randint(*phase.num_facts)) for _ in range(count)]
    first = draw_country(
        random, language, num_facts=random.randint(*phase.num_facts), borrowed_share=phase.borrowed_share
    )
    lookalikes = [random.random() < phase.lookalike_share for _ in range(count - 1)]
    countries = [first, *(draw_rival(random, first, lookalike=lookalike) for lookalike in lookalikes)]
    random.shuffle(countries)
    return countries


def _make_asking(random: Random, country: ImaginaryCountry, prompts: PromptSet) -> list[Turn]:
    """Make a conversation in which the assistant asks about each of an item's facts."""
    words = read_templates()[country.language]
    turns = [prompts.make_system_turn(), prompts.make_item_turn(country.item(random))]
    for attribute in random.sample(list(country.facts), k=len(country.facts)):
        turns.append(prompts.make_ask_turn(attribute, country.language))
        turns.append(Turn("assistant", (random.choice(words["question"][attribute]),)))
    return turns
