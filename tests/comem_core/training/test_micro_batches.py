"""A step is its batch, however it is cut: into micro-batches or over workers, and whenever it is prepared."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch import Tensor

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.packing import pack_by_tokens
from comem_core.training.batches import PreparedBatch
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory, TrainedMemories
from comem_core.training.parts import Parts
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.reports import StepReport
from comem_core.training.samples import TrainingSample
from tests.comem_core.training.two_workers import run_workers

NewEncoder = Callable[..., MemoryEncoder]
ANSWERS = ("Lima", "a city of many people by the sea", "12", "the river and the mountains of the north", "no", "red")


@pytest.fixture(scope="session")
def samples(items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> list[TrainingSample]:
    """Questions with answers of very different lengths, which share some of their items."""
    return [
        TrainingSample.of(question, items[place % 3 : place % 3 + 1 + place % 3], answer=ANSWERS[place])
        for place, question in enumerate(questions[: len(ANSWERS)])
    ]


def make_recipe(encoder: MemoryEncoder, *, num_steps: int = 3) -> TrainingRecipe:
    optimizer = OptimizerRecipe(num_steps=num_steps, batch_size=6, learning_rate=1e-3, gradient_clip=1.0)
    return TrainingRecipe(encoder=encoder.recipe, optimizer=optimizer)


def compute_gradients(objective: AnswerFromMemory) -> tuple[float, dict[str, Tensor]]:
    loss, _ = objective.accumulate_gradient(0)
    return float(loss), {name: each.grad for name, each in objective.trainable().items() if each.grad is not None}


def assert_same_gradients(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    largest = max(float(each.abs().max()) for each in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * largest, msg=name)


def test_rows_are_packed_within_the_budget_like_lengths_together():
    lengths = [3, 50, 7, 49, 8, 120, 1, 30]
    for budget in (8, 60, 100, 101, 128, 400, 959):
        packed = pack_by_tokens(lengths, budget)
        assert sorted(place for rows in packed for place in rows) == list(range(len(lengths)))
        longest = [max(lengths[place] for place in rows) for rows in packed]
        assert longest == sorted(longest, reverse=True)
        assert all(len(rows) == 1 or most * len(rows) <= budget for rows, most in zip(packed, longest, strict=True))
    assert pack_by_tokens(lengths, 100) == [[5], [1, 3], [7, 4, 2], [0, 6]]
    assert pack_by_tokens(lengths, 960) == pack_by_tokens(lengths, None) == [list(range(len(lengths)))]


@pytest.mark.parametrize("budget", [1, 130, 200])
def test_the_gradient_of_a_batch_does_not_depend_on_its_micro_batches(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample], budget: int
):
    encoder = new_adapted_encoder(lora_dropout=0.0)
    wholes = compute_gradients(AnswerFromMemory(encoder, make_recipe(encoder), samples))
    encoder = new_adapted_encoder(lora_dropout=0.0)
    parted = AnswerFromMemory(encoder, make_recipe(encoder), samples, compute=ComputeOptions(tokens_at_once=budget))
    batch = parted.batches[0]
    assert batch.item_tokens is not None
    num_items = len(pack_by_tokens(batch.item_tokens.lengths, budget))
    assert num_items > 1 and (budget > 1 or num_items == len(batch.items) == 5)
    loss, gradients = compute_gradients(parted)
    assert loss == pytest.approx(wholes[0], rel=1e-5)
    assert_same_gradients(gradients, wholes[1])


@pytest.mark.parametrize(("parts", "budget"), [(2, None), (3, None), (16, None), (2, 200)])
def test_parts_that_threads_compute_at_once_change_nothing(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample], parts: int, budget: int | None
):
    """Neither the gradient, but by rounding, nor a single bit of it when another thread is first."""
    found = []
    for count in (1, parts, parts):
        encoder = new_adapted_encoder(lora_dropout=0.0)
        compute = ComputeOptions(tokens_at_once=budget, parts=count)
        objective = AnswerFromMemory(encoder, make_recipe(encoder), samples, compute=compute)
        assert len(objective.parts.cut(range(len(samples)), [9] * len(samples))) == min(count, len(samples))
        found.append(compute_gradients(objective))
    (loss, gradients), (parted_loss, parted), again = found
    assert parted_loss == pytest.approx(loss, rel=1e-5)
    assert_same_gradients(parted, gradients)
    assert parted_loss == again[0]
    assert all(torch.equal(gradient, again[1][name]) for name, gradient in parted.items())


def test_threads_share_the_rows_and_the_threads_of_torch():
    lengths, threads = [3, 50, 7, 49, 8, 120, 1, 30], torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        parts = Parts(2)
        assert parts.cut([1, 3, 5, 6, 7], lengths) == [[3, 5, 6], [1, 7]]
        assert parts.cut([4], lengths) == [[4]]
        met = Barrier(2)  # passes only if both are under way at once
        assert parts.map(lambda part: (met.wait(60), part, torch.get_num_threads())[1:], [7, 8]) == [(7, 2), (8, 2)]
        assert Parts(1).map(lambda part: (part, torch.get_num_threads()), [7]) == [(7, 4)]
    finally:
        torch.set_num_threads(threads)


def test_a_dropout_is_drawn_by_one_thread(new_adapted_encoder: NewEncoder, samples: list[TrainingSample]):
    encoder = new_adapted_encoder(lora_dropout=0.2)
    objective = AnswerFromMemory(encoder, make_recipe(encoder), samples, compute=ComputeOptions(parts=4))
    assert objective.parts.count == 1


@pytest.mark.parametrize("budget", [None, 150])
def test_activations_that_are_computed_again_change_nothing(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample], budget: int | None
):
    """Neither the LoRA's dropout, which is drawn again alike, nor which of the two has its LoRA on."""
    found = []
    for checkpointing in (False, True):
        encoder = new_adapted_encoder(lora_dropout=0.2)
        compute = ComputeOptions(tokens_at_once=budget, gradient_checkpointing=checkpointing)
        torch.manual_seed(0)
        found.append(compute_gradients(AnswerFromMemory(encoder, make_recipe(encoder), samples, compute=compute)))
        assert encoder.backbone.model.is_activation_checkpointing == checkpointing
    assert found[0][0] == found[1][0]
    assert all(torch.equal(gradient, found[1][1][name]) for name, gradient in found[0][1].items())


def test_an_item_is_encoded_again_with_the_dropout_of_the_first_time(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample]
):
    encoder = new_adapted_encoder(lora_dropout=0.5)
    objective = AnswerFromMemory(encoder, make_recipe(encoder), samples, compute=ComputeOptions(tokens_at_once=1))
    tokens = objective.batches[0].item_tokens
    assert tokens is not None
    memories = TrainedMemories(encoder, tokens, pack_by_tokens(tokens.lengths, 1), Parts(1))
    again = [memories._encode(cut, seed)[0][0] for cut, seed in zip(memories.cuts, memories.seeds, strict=True)]
    for [[row]], memory_MD in zip(memories.cuts, again, strict=True):
        assert torch.equal(memories.memory_BMD[row], memory_MD)
    assert len({tuple(memory_MD.flatten()[:8].tolist()) for memory_MD in again}) == len(again)
    other = TrainedMemories(encoder, tokens, pack_by_tokens(tokens.lengths, 1), Parts(1))
    assert not torch.equal(other.memory_BMD, memories.memory_BMD)


class SmallCard(AnswerFromMemory):
    """Trains on a device that holds the activations of so many tokens."""

    room: int

    def _accumulate(self, batch: PreparedBatch, num_supervised: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        found = super()._accumulate(batch, num_supervised)
        if (self.compute.tokens_at_once or 10**6) > self.room:  # after gradients were added, as a card may refuse late
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found


@pytest.mark.parametrize("compute", [ComputeOptions(), ComputeOptions(tokens_at_once=250)])
def test_a_micro_batch_that_does_not_fit_halves_the_budget_once_and_changes_nothing(
    new_adapted_encoder: NewEncoder,
    samples: list[TrainingSample],
    compute: ComputeOptions,
    caplog: pytest.LogCaptureFixture,
):
    encoder = new_adapted_encoder(lora_dropout=0.0)
    wholes = compute_gradients(AnswerFromMemory(encoder, make_recipe(encoder), samples))
    encoder = new_adapted_encoder(lora_dropout=0.0)
    small = SmallCard(encoder, make_recipe(encoder), samples, compute=compute)
    small.room = 210
    loss, gradients = compute_gradients(small)
    assert small.compute.tokens_at_once is not None and small.compute.tokens_at_once <= 210
    assert "out of memory with micro-batches of" in caplog.text
    assert loss == pytest.approx(wholes[0], rel=1e-5)
    assert_same_gradients(gradients, wholes[1])
    small.room = 10
    with pytest.raises(MemoryError, match=r"micro-batch of \d+ tokens does not fit .* COMEM_TRAIN_TOKENS"):
        small.accumulate_gradient(1)


@pytest.mark.parametrize("start", [0, 2, 6])
def test_batches_that_are_prepared_ahead_are_those_of_the_steps(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample], start: int
):
    """The model's random state stays the step's own meanwhile."""
    encoder = new_adapted_encoder()
    batches = AnswerFromMemory(encoder, make_recipe(encoder, num_steps=6), samples).batches
    state = torch.get_rng_state()
    ahead = list(batches.iterate(start))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(ahead) == 6 - start
    for batch, wanted in zip(ahead, (batches[step] for step in range(start, 6)), strict=True):
        assert (batch.items, batch.shown) == (wanted.items, wanted.shown)
        assert torch.equal(batch.questions.ids_BL, wanted.questions.ids_BL)
    wrong = replace(samples[0], image=b"no picture")
    broken = AnswerFromMemory(encoder, make_recipe(encoder), [wrong, *samples[1:]]).batches
    with pytest.raises(
        ValueError, match=f"the sample {re.escape(wrong.sample_id)} cannot be .* not a readable picture"
    ):
        list(broken.iterate(0))


def test_workers_together_train_as_one_alone(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample], tmp_path: Path
):
    """Whoever has the long answers: the loss is the mean over the tokens of the whole batch."""
    alone_reports: list[StepReport] = []
    encoder = new_adapted_encoder(lora_dropout=0.0)
    recipe = make_recipe(encoder)
    alone = Training(AnswerFromMemory(encoder, recipe, samples), recipe.optimizer)
    alone.run(alone_reports.append)

    encoder = new_adapted_encoder(lora_dropout=0.0)
    first, second = run_workers(train_as_worker, encoder, samples, folder=tmp_path)
    parts = first["supervised"], second["supervised"]
    assert parts[0] != parts[1]  # a mean of the workers' means would be another loss
    assert [report.samples for report in alone_reports] == first["samples"] == second["samples"] == [6] * 3
    assert first["losses"] == second["losses"] == pytest.approx([report.loss for report in alone_reports], rel=1e-5)
    for name, weight in alone.parameters.items():
        assert torch.equal(first["parameters"][name], second["parameters"][name])
        torch.testing.assert_close(first["parameters"][name], weight.detach(), rtol=1e-3, atol=2e-5, msg=name)


def train_as_worker(encoder: MemoryEncoder, samples: Sequence[TrainingSample], rank: int, folder: Path) -> None:
    recipe = make_recipe(encoder)
    objective = AnswerFromMemory(encoder, recipe, samples, rank=rank, num_ranks=2)
    training, reports = Training(objective, recipe.optimizer), []
    training.run(reports.append)
    found = {
        "parameters": training.state()["parameters"],
        "losses": [report.loss for report in reports],
        "samples": [report.samples for report in reports],
        "supervised": int(objective.batches[0].questions.answer_BL.sum()),
    }
    torch.save(found, folder / f"{rank}.pt")
