"""The estimated memory of a training is what its tensors really hold, whatever is cut or computed again."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from comem_core.backbone.loading import load_backbone
from comem_core.backbone.quantization import OFF, Quantization, find_quantization_fault
from comem_core.measures.training.steps import make_samples
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.training.estimate import (
    ITEM_TOKENS,
    TrainingMemory,
    estimate_training_memory,
    make_typical_samples,
)
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.training.shapes import META, CountedBytes, CountedShapes

BATCH_SIZE = 3
WAYS = {
    "whole": ComputeOptions(),
    "checkpointed": ComputeOptions(gradient_checkpointing=True),
    "both": ComputeOptions(tokens_at_once=250, gradient_checkpointing=True),
}


def make_recipe() -> TrainingRecipe:
    recipe = find_recipe("tiny_cpu").training
    return replace(
        recipe, optimizer=replace(recipe.optimizer, batch_size=BATCH_SIZE, num_steps=2), distractor_share=0.0
    )


def estimate(
    samples: Sequence[TrainingSample], compute: ComputeOptions, quantization: Quantization = OFF
) -> TrainingMemory:
    recipe = make_recipe()

    def make_encoder() -> MemoryEncoder:
        return MemoryEncoder(load_backbone("tiny", device="meta", quantization=quantization), recipe.encoder)

    return estimate_training_memory(make_encoder, recipe, samples, compute)


def count_real_peak(
    samples: Sequence[TrainingSample], compute: ComputeOptions, quantization: Quantization = OFF
) -> int:
    """Train two steps of the same batch with real tensors, and return the most bytes that they held at once."""
    recipe = make_recipe()
    encoder = MemoryEncoder(load_backbone("tiny", quantization=quantization), recipe.encoder)
    objective = AnswerFromMemory(encoder, recipe, samples, compute=compute)
    models: tuple[nn.Module, ...] = (encoder.backbone.model, encoder.qformer)
    with CountedBytes(torch.device("cpu")) as counted:
        counted.count(each for model in models for each in (*model.parameters(), *model.state_dict().values()))
        Training(objective, recipe.optimizer).run(lambda report: None)
    return counted.peak


@pytest.mark.parametrize("way", WAYS)
def test_an_estimate_is_what_the_tensors_of_the_training_hold(way: str) -> None:
    samples = make_samples(BATCH_SIZE)
    estimated, real = estimate(samples, WAYS[way]), count_real_peak(samples, WAYS[way])
    assert estimated.total == pytest.approx(real, rel=0.08), (str(estimated), real)


@pytest.mark.skipif(find_quantization_fault("nf4") is not None, reason="bitsandbytes is not installed (docs/gpu.md)")
@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_an_estimate_knows_a_quantised_backbone(quantization: Quantization) -> None:
    samples, compute = make_samples(2), WAYS["whole"]
    estimated, real = estimate(samples, compute, quantization), count_real_peak(samples, compute, quantization)
    assert estimated.total == pytest.approx(real, rel=0.08), (str(estimated), real)
    encoder = MemoryEncoder(load_backbone("tiny", quantization=quantization), make_recipe().encoder)
    model = encoder.backbone.model
    tensors = (*encoder.qformer.parameters(), *model.state_dict().values(), *model.buffers())
    held = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    assert estimated.weights == pytest.approx(sum(held.values()), rel=0.003)


def test_the_parts_of_an_estimate_are_those_of_the_model(new_sizes: tuple[int, int]) -> None:
    weights, trained = new_sizes
    found = estimate(make_samples(2), ComputeOptions())
    assert (found.weights, found.optimizer) == (weights, 3 * trained)
    assert found.total == found.weights + found.optimizer + found.activations
    assert str(TrainingMemory(weights=16_580_000_000, optimizer=2_780_000_000, activations=5_440_000_000)) == (
        "24.80 GB (weights 16.58, optimizer 2.78, activations 5.44)"
    )


@pytest.fixture
def new_sizes() -> tuple[int, int]:
    """The bytes of all weights of the shipped model with its encoder, and of those that are trained."""
    encoder = MemoryEncoder(load_backbone("tiny"), make_recipe().encoder)
    models: tuple[nn.Module, ...] = (encoder.backbone.model, encoder.qformer)
    held = {id(each): each.nbytes for model in models for each in (*model.parameters(), *model.buffers())}
    return sum(held.values()), sum(each.nbytes for each in encoder.parameters().values())


def test_longer_items_and_more_of_them_take_more_and_what_is_cut_takes_less() -> None:
    samples = make_typical_samples(2, 3)
    lengths = MemoryEncoder(load_backbone("tiny"), make_recipe().encoder).prepare_items(samples[0].items).lengths
    assert all(0.7 * ITEM_TOKENS < length < 1.6 * ITEM_TOKENS for length in lengths)
    activations = [
        estimate(some, compute).activations
        for some, compute in (
            (make_samples(2), ComputeOptions()),
            (samples[:1], ComputeOptions()),
            (samples, ComputeOptions()),
            (samples, ComputeOptions(tokens_at_once=2500)),
            (samples, ComputeOptions(tokens_at_once=2500, gradient_checkpointing=True)),
        )
    ]
    assert activations[0] < activations[1] < activations[2]
    assert activations[2] > activations[3] > activations[4]


def test_tensors_without_data_take_masks_and_places_that_have_some() -> None:
    with CountedShapes() as counted:
        values_BD = torch.empty(4, 8, device=META)
        mask_B = torch.tensor([True, False, True, True])
        chosen = values_BD[mask_B]
        assert (chosen.shape, chosen.device.type) == ((3, 8), "meta")
        places = torch.arange(6, device=META)
        assert places.device.type == "cpu" and places.tolist() == list(range(6))
        assert float(chosen.sum()) == 1
        assert counted.live == 4 * 8 * 4 + 3 * 8 * 4
        del chosen
        assert counted.live == 4 * 8 * 4
        assert counted.peak >= 4 * 8 * 4 + 3 * 8 * 4
        assert torch.zeros(2, device=META).cpu().device.type == "cpu"
