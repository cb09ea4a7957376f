"""What the tiny base is pretrained on: a curriculum whose every batch is a function of its seed and step."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from comem_core.backbone.images import decode
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.pretraining.base import ReadingObjective
from comem_core.pretraining.base_recipe import CURRICULUM, PretrainingRecipe, make_finding_recipe, make_ranking_recipe
from comem_core.pretraining.encoder_recipe import GuidanceRecipe
from comem_core.training.loop import Training
from comem_core.training.recipe import OptimizerRecipe
from comem_core.worlds.countries.world import ATTRIBUTES, LANGUAGES, read_templates

NUM_STEPS = 100
# A step in the middle of each phase, at NUM_STEPS.
MIDDLES = [
    round(NUM_STEPS * (sum(each.share for each in CURRICULUM[:place]) + phase.share / 2))
    for place, phase in enumerate(CURRICULUM)
]


@pytest.fixture(scope="session")
def recipe(pretraining_recipe: PretrainingRecipe) -> PretrainingRecipe:
    """The real curriculum with fewer conversations in a batch, over a hundred steps."""
    few = tuple(replace(phase, num_conversations=4) for phase in CURRICULUM)
    optimizer = OptimizerRecipe(num_steps=NUM_STEPS, batch_size=4, learning_rate=1e-3)
    return replace(pretraining_recipe, curriculum=few, optimizer=optimizer)


@pytest.fixture(scope="session")
def reading(recipe: PretrainingRecipe, new_backbone: Callable[[], QwenVL]) -> ReadingObjective:
    return ReadingObjective(new_backbone(), recipe)


def pictures_of(batch: Any) -> list[bytes]:
    return [part for turns in batch.conversations for turn in turns for part in turn.content if isinstance(part, bytes)]


def colours_of(picture: bytes) -> torch.Tensor:
    """A picture as a coarse grid of colours."""
    return torch.frombuffer(bytearray(decode(picture).resize((12, 8)).tobytes()), dtype=torch.uint8).float()


def test_the_shares_of_the_curriculum_add_up_to_one():
    assert sum(phase.share for phase in CURRICULUM) == pytest.approx(1)


def test_phases_switch_where_their_shares_say(reading: ReadingObjective):
    phases = [reading._find_phase(step) for step in range(NUM_STEPS)]
    places = [reading.recipe.curriculum.index(phase) for phase in phases]
    assert places == sorted(places)
    for place, phase in enumerate(CURRICULUM):
        assert places.count(place) == pytest.approx(NUM_STEPS * phase.share, abs=1.01)
    assert reading._find_phase(NUM_STEPS + 5) is reading.recipe.curriculum[-1]


@pytest.mark.parametrize("step", [*MIDDLES, NUM_STEPS - 1])
def test_a_batch_is_a_function_of_seed_and_step(
    reading: ReadingObjective, recipe: PretrainingRecipe, new_backbone: Callable[[], QwenVL], step: int
):
    reading._draw_batch(0)
    again = ReadingObjective(new_backbone(), recipe)
    assert again._draw_batch(step) == reading._draw_batch(step)
    assert again._draw_batch(step) != reading._draw_batch(step + 1)
    reseeded = replace(recipe, optimizer=replace(recipe.optimizer, seed=1))
    assert ReadingObjective(new_backbone(), reseeded)._draw_batch(step) != reading._draw_batch(step)


@pytest.mark.parametrize("step", MIDDLES)
def test_a_phase_has_the_items_and_questions_that_it_says(reading: ReadingObjective, step: int):
    phase = reading._find_phase(step)
    num_places = 0
    for near in range(step - 2, step + 3):
        assert reading._find_phase(near) is phase
        batch = reading._draw_batch(near)
        assert len(batch.conversations) == phase.num_conversations
        num_items, rest = divmod(len(batch.item_images), phase.num_conversations)
        assert (num_items in phase.item_counts or not num_items, rest) == (True, 0)
        assert len(batch.question_images) == (phase.num_conversations * phase.num_questions if num_items else 0)
        assert all(turns[0].role == "system" and turns[-1].role == "assistant" for turns in batch.conversations)
        num_places += num_items
    assert num_places > 0


def test_every_language_is_taught(reading: ReadingObjective):
    remarks = {
        text: language
        for language in LANGUAGES
        for texts in read_templates()[language]["question"].values()
        for text in texts
    }
    asked = [
        turn.content[-1]
        for step in MIDDLES
        for near in (step - 1, step, step + 1)
        for turns in reading._draw_batch(near).conversations
        for turn in turns
    ]
    assert {remarks[text] for text in asked if text in remarks} == set(LANGUAGES)


def test_an_answer_stands_in_the_text_of_the_item_that_its_question_is_about(reading: ReadingObjective):
    num_questions = 0
    for step in range(0, NUM_STEPS, 4):
        batch = reading._draw_batch(step)
        pictures = pictures_of(batch)
        texts = {
            turn.content[0]: turn.content[1]
            for turns in batch.conversations
            for turn in turns
            if len(turn.content) == 2
        }
        answers = {
            question.content[0]: answer.content[0]
            for turns in batch.conversations
            for question, answer in pairwise(turns)
            if answer.role == "assistant" and len(question.content) == 2
        }
        for image, item in zip(batch.question_images, batch.item_of_question, strict=True):
            text, answer = texts[pictures[batch.item_images[item]]], answers[pictures[image]]
            assert isinstance(text, str) and isinstance(answer, str)
            assert answer in text
            num_questions += 1
    assert num_questions > 100


def test_a_question_shows_the_design_of_its_item_as_another_artist_draws_it(reading: ReadingObjective):
    nearest, num_questions = 0, 0
    for step in range(0, NUM_STEPS, 5):
        batch = reading._draw_batch(step)
        if len(batch.item_images) < 2:
            continue
        pictures = pictures_of(batch)
        items = torch.stack([colours_of(pictures[place]) for place in batch.item_images])
        for image, item in zip(batch.question_images, batch.item_of_question, strict=True):
            assert pictures[image] != pictures[batch.item_images[item]]
            nearest += int((items - colours_of(pictures[image])).abs().mean(dim=1).argmin()) == item
            num_questions += 1
    assert num_questions > 100
    assert nearest / num_questions > 0.8  # by colours alone; chance is below 0.25


def test_some_conversations_of_the_later_phases_ask_about_every_fact_of_an_item(
    recipe: PretrainingRecipe, new_backbone: Callable[[], QwenVL]
):
    asking = ReadingObjective(new_backbone(), replace(recipe, ask_share=1.0))
    for step in MIDDLES:
        reads_one_item_only = len(asking._find_phase(step).item_counts) == 1
        assert bool(asking._draw_batch(step).item_images) == reads_one_item_only
    batch = asking._draw_batch(MIDDLES[-1])
    assert batch.item_images == batch.question_images == []
    for turns in batch.conversations:
        asked = [turn.content[0] for turn in turns if turn.role == "assistant"]
        wordings = {
            text: kind
            for language in LANGUAGES
            for kind in ATTRIBUTES
            for text in read_templates()[language]["question"][kind]
        }
        assert len(asked) == len({wordings[text] for text in asked}) >= 3


@pytest.mark.parametrize("step", MIDDLES)
def test_a_step_of_every_phase_yields_a_finite_loss_and_gradients(reading: ReadingObjective, step: int):
    loss, measures = reading.loss(step)
    assert loss.isfinite()
    assert {"samples", "tokens", "answer_accuracy", "value_loss", "document_loss"} <= set(measures)
    assert measures["samples"] == 4
    loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in reading.trainable().values())
    for weight in reading.trainable().values():
        weight.grad = None


def test_questions_without_any_item_are_answered_too(recipe: PretrainingRecipe, new_backbone: Callable[[], QwenVL]):
    bare = tuple(replace(phase, item_counts=(0,)) for phase in recipe.curriculum)
    loss, measures = ReadingObjective(new_backbone(), replace(recipe, curriculum=bare, ask_share=0.0)).loss(MIDDLES[-1])
    assert loss.isfinite()
    assert (measures["items"], "match_accuracy" in measures) == (0, False)


def test_the_loss_falls_while_one_batch_is_repeated(recipe: PretrainingRecipe, new_backbone: Callable[[], QwenVL]):
    class OneBatch(ReadingObjective):
        def _draw_batch(self, step: int) -> Any:
            return super()._draw_batch(0)

    losses: list[float] = []
    Training(OneBatch(new_backbone(), recipe), recipe.optimizer).run(
        lambda report: losses.append(report.loss), until=15
    )
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("course", [make_finding_recipe, make_ranking_recipe])
def test_in_the_later_courses_only_the_picture_tells_which_item_is_asked_about(
    course: Callable[[], PretrainingRecipe], new_backbone: Callable[[], QwenVL]
):
    guided = ReadingObjective(new_backbone(), smaller(course()))
    sentences = {language: read_templates()[language]["sentence"] for language in LANGUAGES}
    num_conversations = 0
    for step in range(6):
        for turns in guided._draw_batch(step).conversations:
            texts = [turn.content[1] for turn in turns if len(turn.content) == 2]
            for language in LANGUAGES:
                heads = {kind: sentences[language][kind].split("{value}")[0] for kind in ATTRIBUTES}
                kinds = {frozenset(k for k, head in heads.items() if head in text) for text in texts} - {frozenset()}
                num_conversations += len(kinds) == 1
                assert len(kinds) <= 1
    assert num_conversations > 10


@pytest.mark.parametrize("course", [make_finding_recipe, make_ranking_recipe])
def test_a_step_of_the_later_courses_is_guided(
    course: Callable[[], PretrainingRecipe], new_backbone: Callable[[], QwenVL]
):
    recipe = smaller(course())
    step = next(step for step in range(20) if ReadingObjective(new_backbone(), recipe)._draw_batch(step).item_images)
    guided, _ = ReadingObjective(new_backbone(), recipe).loss(step)
    plain, _ = ReadingObjective(new_backbone(), replace(recipe, guidance=None)).loss(step)
    assert guided.isfinite()
    assert guided > plain + 1  # a random model looks elsewhere


def smaller(recipe: PretrainingRecipe) -> PretrainingRecipe:
    """A later course for the small model, which has two layers."""
    few = tuple(replace(phase, num_conversations=3) for phase in recipe.curriculum)
    return replace(recipe, curriculum=few, guidance=GuidanceRecipe(gathering_layer=0, finding_layer=1))
