"""The memory objective: which samples a step sees, which tokens are learnt, and that learning happens."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import log_softmax

from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import inject
from comem_core.training.loop import Training
from comem_core.training.loss import compute_token_losses
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample

NewEncoder = Callable[..., MemoryEncoder]


@pytest.fixture(scope="session")
def samples(items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> list[TrainingSample]:
    return [
        TrainingSample.of(question, items[place % 3 : place % 3 + 1 + place % 3])
        for place, question in enumerate(questions)
    ]


def recipe_of(encoder: MemoryEncoder, *, batch_size: int = 4, num_steps: int = 30, seed: int = 0) -> TrainingRecipe:
    optimizer = OptimizerRecipe(
        num_steps=num_steps, batch_size=batch_size, learning_rate=1e-3, gradient_clip=1.0, seed=seed
    )
    return TrainingRecipe(encoder=encoder.recipe, optimizer=optimizer)


def walk(encoder: MemoryEncoder, samples: Sequence[TrainingSample], recipe: TrainingRecipe, *, steps: int) -> list[int]:
    objective = AnswerFromMemory(encoder, recipe, samples)
    return [index for step in range(steps) for index in objective.batches.choose_indices(step)]


def test_every_sample_is_seen_once_an_epoch_in_a_new_order(new_encoder: NewEncoder, samples: list[TrainingSample]):
    encoder = new_encoder()
    many = [replace(samples[0], sample_id=str(number)) for number in range(10)]
    seen = walk(
        encoder, many, recipe_of(encoder, batch_size=4), steps=10
    )  # 40 places: four epochs, batches across them
    epochs = [seen[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert walk(encoder, many, recipe_of(encoder, seed=1), steps=10) != seen


def test_a_batch_larger_than_the_data_goes_round(new_encoder: NewEncoder, samples: list[TrainingSample]):
    encoder = new_encoder()
    seen = walk(encoder, samples[:3], recipe_of(encoder, batch_size=8), steps=3)
    assert sorted(seen) == [0] * 8 + [1] * 8 + [2] * 8


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_workers_split_a_batch_without_overlap(new_encoder: NewEncoder, samples: list[TrainingSample], num_ranks: int):
    encoder = new_encoder()
    many = [replace(samples[0], sample_id=str(number)) for number in range(50)]
    recipe = recipe_of(encoder, batch_size=8)
    alone = AnswerFromMemory(encoder, recipe, many)
    ranks = [AnswerFromMemory(encoder, recipe, many, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    for step in range(6):
        parts = [worker.batches.choose_indices(step) for worker in ranks]
        assert [len(part) for part in parts] == [8 // num_ranks] * num_ranks
        together = [index for part in parts for index in part]
        assert sorted(together) == sorted(alone.batches.choose_indices(step))
        assert len(set(together)) == 8


def test_a_batch_that_workers_cannot_share_evenly_is_refused(new_encoder: NewEncoder, samples: list[TrainingSample]):
    encoder = new_encoder()
    with pytest.raises(ValueError, match="a batch of 4 cannot be split evenly over 3 workers"):
        AnswerFromMemory(encoder, recipe_of(encoder), samples, rank=0, num_ranks=3)


def test_no_samples_and_samples_without_items_are_refused(new_encoder: NewEncoder, samples: list[TrainingSample]):
    encoder = new_encoder()
    with pytest.raises(ValueError, match="no training sample was kept"):
        AnswerFromMemory(encoder, recipe_of(encoder), [])
    with pytest.raises(ValueError, match="1 training samples have no item to encode, first 'bare'"):
        AnswerFromMemory(encoder, recipe_of(encoder), [*samples, replace(samples[0], sample_id="bare", items=())])


def test_the_supervised_tokens_are_the_answer_its_end_token_and_its_newline(
    encoder: MemoryEncoder, samples: list[TrainingSample]
):
    backbone, prompts = encoder.backbone, encoder.prompts
    assert isinstance(backbone, QwenVL)
    conversations = [
        prompts.make_conversation(each.question, each.image, each.language, answer=each.answer) for each in samples
    ]
    tokens = backbone.tokenize(conversations, generation=False)
    tokenizer = backbone.tokenizer
    for ids, mask, sample in zip(tokens.ids_BL, tokens.answer_BL, samples, strict=True):
        expected = tokenizer(f"{sample.answer}<|im_end|>\n", add_special_tokens=False)["input_ids"]
        assert ids[mask].tolist() == expected
        assert mask[-len(expected) :].all()  # they are the last ones


def test_the_loss_is_the_mean_over_supervised_tokens_of_what_the_reader_says_of_them(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample]
):
    encoder = new_adapted_encoder(lora_dropout=0.0)
    recipe = recipe_of(encoder, batch_size=6)
    objective = AnswerFromMemory(encoder, recipe, samples)
    loss, measures = objective.accumulate_gradient(0)

    surprises = []
    for sample in samples:
        prompts, backbone = encoder.prompts, encoder.backbone
        conversation = prompts.make_conversation(sample.question, sample.image, sample.language, answer=sample.answer)
        tokens = backbone.tokenize([conversation], generation=False)
        memory = torch.cat([encoder.encode_batch([item])[0] for item in sample.items])
        with torch.inference_mode(), backbone.switch_adapter(False):
            logits_PV = backbone.logits(backbone.hidden(inject(backbone.embed(tokens), [memory])))[0]
        for place in tokens.answer_BL[0].nonzero().flatten().tolist():
            says_V = log_softmax(logits_PV[len(memory) + place - 1], dim=-1)
            surprises.append(-float(says_V[tokens.ids_BL[0, place]]))
    assert float(loss.detach()) == pytest.approx(sum(surprises) / len(surprises), rel=1e-4)
    assert measures["samples"] == 6
    assert 0 <= measures["token_accuracy"] <= 1


def test_losses_are_the_same_whether_memory_stands_in_front_or_not(
    encoder: MemoryEncoder, samples: list[TrainingSample]
):
    backbone, sample = encoder.backbone, samples[0]
    conversation = encoder.prompts.make_conversation(
        sample.question, sample.image, sample.language, answer=sample.answer
    )
    tokens = backbone.tokenize([conversation], generation=False)
    hidden_BLD = torch.randn(1, tokens.ids_BL.shape[1], backbone.width)
    plain_S, _, right_S = compute_token_losses(backbone, hidden_BLD, tokens.ids_BL, tokens.answer_BL)
    longer_BLD = torch.cat([torch.randn(1, 16, backbone.width), hidden_BLD], dim=1)
    behind_S, _, also_right_S = compute_token_losses(backbone, longer_BLD, tokens.ids_BL, tokens.answer_BL)
    assert torch.equal(plain_S, behind_S)
    assert right_S.tolist() == also_right_S.tolist() == tokens.ids_BL[tokens.answer_BL].tolist()


def test_items_are_shown_in_rank_order_and_never_more_than_the_recipe_says(
    new_encoder: NewEncoder, samples: list[TrainingSample], items: tuple[KnowledgeItem, ...]
):
    encoder, long = new_encoder(), replace(samples[0], items=items)
    objective = AnswerFromMemory(encoder, recipe_of(encoder), [long])
    assert objective.batches.choose_items(long, 0) == items[:3]
    varied = AnswerFromMemory(encoder, replace(recipe_of(encoder), random_item_count=True), [long])
    shown = [varied.batches.choose_items(long, step) for step in range(40)]
    assert {len(each) for each in shown} == {1, 2, 3}
    assert all(each == items[: len(each)] for each in shown)
    assert shown == [varied.batches.choose_items(long, step) for step in range(40)]


def test_the_item_that_answers_is_shown_among_distractors_as_often_as_the_recipe_says(
    new_encoder: NewEncoder, samples: list[TrainingSample], items: tuple[KnowledgeItem, ...]
):
    """Other samples' items of the same language and of other entities, anywhere; unknown answers keep their list."""
    pool = tuple(
        replace(items[0], text=f"Another {place}.", entity_id=f"entity-{place}", language=language)
        for place, language in enumerate(("en", "en", "en", "en", "es", "es"))
    )
    own = tuple(replace(item, language="en", entity_id=None) for item in items)
    encoder, sample = new_encoder(), replace(samples[0], items=own, about=1)
    others = replace(samples[1], items=pool, about=None)
    recipe = replace(recipe_of(encoder), distractor_share=0.5)
    objective = AnswerFromMemory(encoder, recipe, [sample, others])
    shown = [objective.batches.choose_items(sample, step) for step in range(200)]
    changed = [each for each in shown if each != own[:3]]
    assert 70 <= len(changed) <= 130
    assert all(len({item.item_id for item in each}) == 3 and own[1] in each for each in changed)
    assert {each.index(own[1]) for each in changed} == {0, 1, 2}
    assert {item.language for each in changed for item in each} == {"en"}
    assert any(item in pool for each in changed for item in each)
    assert shown == [objective.batches.choose_items(sample, step) for step in range(200)]
    assert all(objective.batches.choose_items(others, step) == pool[:3] for step in range(20))
    with pytest.raises(ValueError, match=r"distractor_share .* from 0 to 1; found 1\.5"):
        replace(recipe, distractor_share=1.5)


def test_thirty_steps_teach_four_answers_and_they_come_from_the_memory(
    new_encoder: NewEncoder, samples: list[TrainingSample]
):
    encoder = new_encoder(match_embedding_norm=True)
    with torch.no_grad():  # a reader that can be sure of a token, as a trained one can
        encoder.backbone.model.get_parameter("model.language_model.norm.weight").mul_(4)
    recipe = recipe_of(encoder)
    losses: list[float] = []
    training = Training(AnswerFromMemory(encoder, recipe, samples[:4]), recipe.optimizer)
    training.run(lambda report: losses.append(report.loss))
    assert losses[-1] < 0.4 * losses[0]
    swapped = [
        replace(sample, items=other.items)
        for sample, other in zip(samples[:4], samples[1:4] + samples[:1], strict=True)
    ]
    own, others = (
        float(AnswerFromMemory(encoder, recipe, each).accumulate_gradient(0)[0]) for each in (samples[:4], swapped)
    )
    assert own < others - 0.5


def test_the_answer_to_learn_has_to_come_through_the_memory(new_encoder: NewEncoder, samples: list[TrainingSample]):
    encoder = new_encoder()
    AnswerFromMemory(encoder, recipe_of(encoder, batch_size=6), samples).accumulate_gradient(0)
    without_gradient = [
        name
        for name, weight in encoder.parameters().items()
        if "lora_A" not in name and (weight.grad is None or not weight.grad.abs().sum())  # B is 0, so A has none yet
    ]
    assert without_gradient == []
    own = {id(weight) for weight in encoder.parameters().values()}
    assert all(weight.grad is None for weight in encoder.backbone.model.parameters() if id(weight) not in own)
