"""Options of training that the paper's recipe does not have: nested lengths, and distillation from the reader."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.training.batches import PreparedBatch
from comem_core.training.loop import Training
from comem_core.training.loss import compute_divergence
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample

NewEncoder = Callable[..., MemoryEncoder]


@pytest.fixture(scope="session")
def samples(items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> list[TrainingSample]:
    return [
        TrainingSample.of(question, items[place : place + 2], answer=f"Lima{' and more' * place}")
        for place, question in enumerate(questions[:3])
    ]


def make_objective(
    encoder: MemoryEncoder, samples: Sequence[TrainingSample], compute: ComputeOptions | None = None, **options: Any
) -> AnswerFromMemory:
    optimizer = OptimizerRecipe(num_steps=60, batch_size=len(samples))
    recipe = TrainingRecipe(encoder=encoder.recipe, optimizer=optimizer, **options)
    return AnswerFromMemory(encoder, recipe, samples, compute=compute)


def compute_gradient(objective: AnswerFromMemory, batch: PreparedBatch) -> tuple[float, dict[str, Tensor]]:
    loss, _ = objective.accumulate_batch_gradient(batch)
    found = {name: each.grad for name, each in objective.trainable().items() if each.grad is not None}
    for weight in objective.trainable().values():
        weight.grad = None
    return float(loss), found


def test_nested_lengths_are_powers_of_two_that_depend_on_sample_and_step(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample]
):
    encoder = new_adapted_encoder()
    assert encoder.recipe.num_vectors == 8
    batches = make_objective(encoder, samples, nested_lengths=True).batches
    drawn = Counter(length for step in range(60) for length in batches[step].num_vectors)
    assert drawn.keys() == {1, 2, 4, 8} and min(drawn.values()) > 20
    assert batches[7].num_vectors == make_objective(encoder, samples, nested_lengths=True).batches[7].num_vectors
    assert {*make_objective(encoder, samples).batches[7].num_vectors} == {8}


def test_a_sample_with_a_nested_length_shows_the_first_vectors_of_each_item(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample]
):
    """As if the encoder made no others; however the batch is cut."""
    encoder = new_adapted_encoder(lora_dropout=0.0)
    objective = make_objective(encoder, samples)
    whole = objective.batches[0]
    short = replace(whole, num_vectors=(2, 2, 2))
    memory_BMD = objective.remember(short).memory_BMD
    with encoder.as_reader():
        loss, _ = objective._compute_share(short, [0, 1, 2], memory_BMD, torch.tensor(1.0))
        [gradient_BMD] = torch.autograd.grad(loss, memory_BMD)
        assert gradient_BMD[:, :2].abs().amax(dim=2).min() > 0 and not gradient_BMD[:, 2:].any()
        again, _ = objective._compute_share(whole, [0, 1, 2], memory_BMD[:, :2], torch.tensor(1.0))
    assert again.item() == loss.item()
    mixed = replace(whole, num_vectors=(1, 8, 4))
    loss, gradients = compute_gradient(objective, mixed)
    cut = make_objective(encoder, samples, ComputeOptions(tokens_at_once=100, parts=2))
    other_loss, others = compute_gradient(cut, mixed)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(others["qformer.latents_MD"], gradients["qformer.latents_MD"], rtol=1e-3, atol=1e-6)


def test_distillation_teaches_what_the_reader_expects_with_the_items_as_text(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample]
):
    encoder = new_adapted_encoder(lora_dropout=0.0)
    plain, taught, half = (make_objective(encoder, samples, distillation=share) for share in (0.0, 1.0, 0.5))
    batch = taught.batches[0]
    assert plain.batches[0].taught is None and batch.taught is not None
    assert batch.taught.answer_BL.sum() == batch.questions.answer_BL.sum()
    assert min(batch.taught.lengths) > max(batch.questions.lengths)
    cross_entropy, _ = compute_gradient(plain, replace(batch, taught=None))
    divergence, gradients = compute_gradient(taught, batch)
    assert divergence > 0 and any(each.any() for each in gradients.values())
    assert compute_gradient(half, batch)[0] == pytest.approx((cross_entropy + divergence) / 2, rel=1e-5)
    cut = make_objective(encoder, samples, ComputeOptions(tokens_at_once=1), distillation=1.0)
    assert compute_gradient(cut, batch)[0] == pytest.approx(divergence, rel=1e-5)
    # What is taught is the reader's own answer to the question with its items, without the LoRA.
    with torch.no_grad(), encoder.as_reader():
        logits_SV = taught._compute_taught_logits(batch.taught)
        assert compute_divergence(logits_SV, logits_SV).abs().max() < 1e-6
    with torch.no_grad(), encoder.reading():
        assert not torch.allclose(taught._compute_taught_logits(batch.taught), logits_SV, atol=1e-3)


def test_a_divergence_is_that_of_the_definition():
    found_SV, wanted_SV = torch.tensor([[0.0, 0.0], [2.0, -1.0]]), torch.tensor([[3.0, 0.0], [2.0, -1.0]])
    first, second = compute_divergence(found_SV, wanted_SV).tolist()
    wanted = torch.tensor([3.0, 0.0]).softmax(dim=-1)
    assert first == pytest.approx(float((wanted * (wanted / 0.5).log()).sum()), rel=1e-6)
    assert second == pytest.approx(0.0, abs=1e-6)


def test_a_share_that_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match=r"distillation must be a share from 0 to 1; found 1\.5"):
        TrainingRecipe(distillation=1.5)
    with pytest.raises(ValueError, match=r"distractor_share must be a share from 0 to 1; found -0\.1"):
        TrainingRecipe(distractor_share=-0.1)


def test_a_training_from_before_an_option_goes_on_while_the_option_is_off(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample]
):
    encoder = new_adapted_encoder()
    optimizer = OptimizerRecipe(num_steps=60, batch_size=len(samples))
    state = Training(make_objective(encoder, samples), optimizer).state()
    older = state | {"training": state["training"] | {"recipe": dict(state["training"]["recipe"])}}
    for name in ("nested_lengths", "distillation"):
        del older["training"]["recipe"][name]
    Training(make_objective(encoder, samples), optimizer).load(older)
    with pytest.raises(ValueError, match=r"recipe: distillation is None, here 0\.5"):
        Training(make_objective(encoder, samples, distillation=0.5), optimizer).load(older)
    with pytest.raises(ValueError, match="recipe: nested_lengths is False, here True"):
        Training(make_objective(encoder, samples, nested_lengths=True), optimizer).load(state)
