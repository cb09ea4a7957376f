"""The encoder's start: batches of imaginary countries that are functions of their seed and step, and a run on them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.encoder import ImaginaryMemory
from comem_core.pretraining.encoder_recipe import ENCODER_CURRICULUM, EncoderPretrainingRecipe, GuidanceRecipe
from comem_core.training.loop import Training
from comem_core.training.recipe import OptimizerRecipe
from comem_core.training.reports import StepReport
from comem_core.worlds.countries.world import ATTRIBUTES, read_templates

NUM_STEPS = 100
MIDDLES = [
    round(NUM_STEPS * (sum(each.share for each in ENCODER_CURRICULUM[:place]) + phase.share / 2))
    for place, phase in enumerate(ENCODER_CURRICULUM)
]


@pytest.fixture(scope="module")
def recipe() -> EncoderPretrainingRecipe:
    """The real curriculum with fewer items in a batch, over a hundred steps."""
    few = tuple(replace(phase, num_items=3) for phase in ENCODER_CURRICULUM)
    optimizer = OptimizerRecipe(num_steps=NUM_STEPS, batch_size=4, learning_rate=1e-3, gradient_clip=1.0)
    guidance = GuidanceRecipe(gathering_layer=0, finding_layer=1)  # the small model has two layers
    return EncoderPretrainingRecipe(curriculum=few, optimizer=optimizer, guidance=guidance)


@pytest.fixture(scope="module")
def objective(recipe: EncoderPretrainingRecipe, new_encoder: Callable[..., MemoryEncoder]) -> ImaginaryMemory:
    return ImaginaryMemory(new_encoder(), recipe)


def test_the_shares_of_the_curriculum_add_up_to_one():
    assert sum(phase.share for phase in ENCODER_CURRICULUM) == pytest.approx(1)


@pytest.mark.parametrize("step", MIDDLES)
def test_a_batch_is_a_function_of_seed_and_step(
    objective: ImaginaryMemory, recipe: EncoderPretrainingRecipe, step: int
):
    assert objective.batch(step) == objective.batch(step)
    assert objective.batch(step) != objective.batch(step + 1)
    reseeded = replace(recipe, optimizer=replace(recipe.optimizer, seed=1))
    assert ImaginaryMemory(objective.encoder, reseeded).batch(step) != objective.batch(step)


@pytest.mark.parametrize("step", range(0, NUM_STEPS, 7))
def test_an_answer_stands_in_an_item_of_its_sample_and_no_item_shows_the_questions_picture(
    objective: ImaginaryMemory, step: int
):
    for sample in objective.batch(step):
        assert sample.about is not None
        assert sample.answer in sample.items[sample.about].text
        assert {item.language for item in sample.items} == {sample.language}
        assert sample.image not in {item.image for item in sample.items}
        assert len(sample.items) in objective._find_phase(step).item_counts


@pytest.mark.parametrize("step", MIDDLES)
def test_a_step_of_every_phase_yields_a_finite_loss(objective: ImaginaryMemory, step: int):
    loss, measures = objective.loss(step)
    assert loss.isfinite()
    assert measures["samples"] == len(objective.batch(step))


def test_the_start_is_trained_and_the_reader_is_not(
    recipe: EncoderPretrainingRecipe, new_encoder: Callable[..., MemoryEncoder]
):
    encoder = new_encoder(match_embedding_norm=True, copying_start=True)
    before = encoder.backbone.hash_base_weights()
    reports: list[StepReport] = []
    Training(ImaginaryMemory(encoder, recipe), recipe.optimizer).run(reports.append, until=8)
    assert reports[-1].loss < reports[0].loss
    assert encoder.backbone.hash_base_weights() == before


def test_only_the_picture_tells_which_of_several_items_is_asked_about(objective: ImaginaryMemory):
    stated = Counter(
        len({kinds_in(item.text, item.language) for item in sample.items}) == 1
        for step in range(60, NUM_STEPS, 2)
        for sample in objective.batch(step)
        if len(sample.items) > 1
    )
    assert stated[True] > 80
    assert not stated[False]


def kinds_in(text: str, language: str) -> frozenset[str]:
    sentences = read_templates()[language]["sentence"]
    return frozenset(kind for kind in ATTRIBUTES if sentences[kind].split("{value}")[0] in text)


def test_a_memory_that_holds_the_values_of_its_item_reconstructs_them_and_another_does_not(objective: ImaginaryMemory):
    items = list({item.item_id: item for sample in objective.batch(50) for item in sample.items}.values())[:2]
    texts = [item.text for item in items]
    embeddings: Any = objective.encoder.backbone.model.get_input_embeddings()
    rows = []
    for text in texts:
        ids = torch.tensor(objective.encoder.backbone.tokenizer(text, add_special_tokens=False)["input_ids"])
        rows.append(embeddings.weight[ids[torch.isin(ids, objective.values_V)].unique()[:3]])
    memory_BMD = torch.stack(rows)
    own, others = (
        objective.compute_reconstruction(memory_BMD, texts),
        objective.compute_reconstruction(memory_BMD.flip(0), texts),
    )
    assert own < others - 1


def test_a_memory_that_holds_its_own_picture_is_more_like_it_than_another(objective: ImaginaryMemory):
    pictures_QD = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    memory_BMD = pictures_QD[:, None] + 0.1 * torch.randn(5, 3, 64, generator=torch.Generator().manual_seed(1))
    own, others = (
        objective.compute_likeness(memory_BMD, pictures_QD, range(5)),
        objective.compute_likeness(memory_BMD, pictures_QD, [1, 2, 3, 4, 0]),
    )
    assert own < 0.1
    assert others > own + 5
