"""Training a transfer: the projection learns through the frozen reader, and nothing else changes unless asked to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from comem_core.backbone.text import TextModel
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.transfer import TextTransfer
from comem_core.memory.transfer_recipe import TransferRecipe
from comem_core.training.loop import Training
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.reports import StepReport
from comem_core.training.samples import TrainingSample
from comem_core.training.transfer import AnswerThroughTransfer

NewEncoder = Callable[..., MemoryEncoder]
NewTextModel = Callable[..., TextModel]
RECIPE = TrainingRecipe(
    optimizer=OptimizerRecipe(num_steps=80, batch_size=4, learning_rate=2e-2, weight_decay=0.0, gradient_clip=1.0)
)


@pytest.fixture(scope="session")
def samples(items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> list[TrainingSample]:
    """Four samples whose answers differ, each with items of its own."""
    return [
        TrainingSample.of(question, [items[place], items[place + 1]]) for place, question in enumerate(questions[:4])
    ]


def train(transfer: TextTransfer, samples: list[TrainingSample], *, steps: int = 80, train_encoder: bool = False):
    objective = AnswerThroughTransfer(transfer, RECIPE, samples, train_encoder=train_encoder)
    reports: list[StepReport] = []
    optimizer = RECIPE.optimizer if not train_encoder else replace(RECIPE.optimizer, learning_rate=5e-3)
    Training(objective, optimizer).run(reports.append, until=steps)
    transfer.encoder.set_trainable(False)
    return objective, reports


def hashes(transfer: TextTransfer) -> tuple[str, str, str]:
    encoder = transfer.encoder
    return transfer.reader.hash_base_weights(), encoder.backbone.hash_base_weights(), encoder.encoder_id


@pytest.mark.parametrize("width", [48, 64])
def test_the_projection_learns_and_reader_backbone_and_encoder_stay_as_they_were(
    new_encoder: NewEncoder, new_text_model: NewTextModel, samples: list[TrainingSample], width: int
):
    transfer = TextTransfer(new_encoder(), new_text_model(width), TransferRecipe(projection=True))
    before = hashes(transfer)
    objective, reports = train(transfer, samples)
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert reports[-1].measures["token_accuracy"] > reports[0].measures["token_accuracy"]
    assert set(objective.trainable()) == {"projection.weight", "projection.bias"}
    assert hashes(transfer) == before


def test_what_was_learnt_is_in_the_answers(
    new_encoder: NewEncoder,
    new_text_model: NewTextModel,
    samples: list[TrainingSample],
    questions: tuple[Question, ...],
):
    transfer = TextTransfer(new_encoder(), new_text_model(64), TransferRecipe(projection=True))
    train(transfer, samples)
    bank = transfer.encoder.encode([item for sample in samples for item in sample.items], grid=None)
    ids = [[item.item_id for item in sample.items] for sample in samples]
    said = [each.text for each in transfer.answer(questions[:4], bank, item_ids=ids, max_new_tokens=8)]
    assert said == [sample.answer for sample in samples]


def test_without_a_projection_the_encoder_learns_through_the_text_reader(
    new_encoder: NewEncoder, new_text_model: NewTextModel, samples: list[TrainingSample]
):
    transfer = TextTransfer(new_encoder(lora_dropout=0.0), new_text_model(64))
    reader, backbone, encoder_id = hashes(transfer)
    objective, reports = train(transfer, samples, train_encoder=True)
    assert reports[-1].loss < 0.5 * reports[0].loss
    assert set(objective.trainable()) == set(transfer.encoder.parameters())
    changed = hashes(transfer)
    assert changed[:2] == (reader, backbone)
    assert changed[2] != encoder_id


def compute_loss(objective: AnswerThroughTransfer, samples: list[TrainingSample]) -> float:
    return float(objective.accumulate_batch_gradient(objective.batches.prepare(samples))[0])


def test_gradients_reach_projection_and_encoder_where_both_are_trained(
    new_encoder: NewEncoder, new_text_model: NewTextModel, samples: list[TrainingSample]
):
    transfer = TextTransfer(new_encoder(), new_text_model(48), TransferRecipe(projection=True))
    objective = AnswerThroughTransfer(transfer, RECIPE, samples, train_encoder=True)
    objective.accumulate_gradient(0)
    still = [
        name
        for name, weight in objective.trainable().items()
        if "lora_A" not in name and (weight.grad is None or not weight.grad.any())  # lora_B starts at nothing
    ]
    assert still == []
    assert all(weight.grad is None for weight in transfer.reader.model.parameters())


def test_threads_that_compute_parts_at_once_change_no_gradient(
    new_encoder: NewEncoder, new_text_model: NewTextModel, samples: list[TrainingSample]
):
    found = []
    for parts in (1, 2):
        transfer = TextTransfer(new_encoder(lora_dropout=0.0), new_text_model(48), TransferRecipe(projection=True))
        compute = ComputeOptions(parts=parts)
        objective = AnswerThroughTransfer(transfer, RECIPE, samples, train_encoder=True, compute=compute)
        objective.accumulate_gradient(0)
        found.append({name: weight.grad for name, weight in objective.trainable().items() if weight.grad is not None})
    assert set(transfer.parameters()) < found[0].keys() == found[1].keys()
    largest = max(float(gradient.abs().max()) for gradient in found[0].values())
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-5 * largest, msg=name)


def test_a_frozen_encoder_gives_the_loss_of_one_that_is_trained_and_reads_each_item_once(
    new_encoder: NewEncoder, new_text_model: NewTextModel, samples: list[TrainingSample]
):
    transfer = TextTransfer(new_encoder(lora_dropout=0.0), new_text_model(48), TransferRecipe(projection=True))
    trained = compute_loss(AnswerThroughTransfer(transfer, RECIPE, samples, train_encoder=True), samples)
    frozen = AnswerThroughTransfer(transfer, RECIPE, samples)
    assert compute_loss(frozen, samples) == pytest.approx(trained, rel=1e-5)
    shown = {item.item_id for sample in samples for item in sample.items}
    assert shown < set(frozen.known)
    assert len(frozen.known) == len(shown) + len({sample.image for sample in samples})
    marked = list(frozen.known)
    frozen.known.put(marked, torch.zeros(len(marked), frozen.known.num_vectors, frozen.known.width))
    compute_loss(frozen, samples)
    assert not frozen.known.of(marked).any(), "an item was read again"


def test_only_the_answers_tokens_count(
    new_encoder: NewEncoder, new_text_model: NewTextModel, samples: list[TrainingSample]
):
    transfer = TextTransfer(new_encoder(), new_text_model(64), TransferRecipe(projection=True))
    objective = AnswerThroughTransfer(transfer, RECIPE, samples)
    sample, reader = samples[0], transfer.reader
    found = compute_loss(objective, [sample])
    shown = transfer.list_shown(sample.items, sample.image, sample.language)
    memory = objective.known.of([item.item_id for item in shown])
    system, asked = transfer.encoder.prompts.system, sample.question
    prompt = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    ids = [reader.tokenizer(text)["input_ids"] for text in (prompt, f"{sample.answer}<|im_end|>\n")]
    embeddings: Any = reader.model.get_input_embeddings()
    embeds = embeddings(torch.tensor(ids[0] + ids[1]))
    with torch.no_grad():
        logits = reader.model(inputs_embeds=torch.cat([transfer.project(memory), embeds])[None]).logits[0]
    places = slice(len(logits) - len(ids[1]) - 1, -1)
    expected = torch.nn.functional.cross_entropy(logits[places], torch.tensor(ids[1]))
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_nothing_to_train_is_refused(
    new_encoder: NewEncoder, new_text_model: NewTextModel, samples: list[TrainingSample]
):
    transfer = TextTransfer(new_encoder(), new_text_model(64))
    with pytest.raises(
        ValueError, match="nothing to train: this transfer has no projection, and its encoder is frozen"
    ):
        AnswerThroughTransfer(transfer, RECIPE, samples)
    with pytest.raises(ValueError, match="1 training samples have no item"):
        AnswerThroughTransfer(transfer, RECIPE, [replace(samples[0], items=())], train_encoder=True)
