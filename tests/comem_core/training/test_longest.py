"""What could stop a later step is found before the first one, on the longest samples."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample, as_samples, find_longest

NewEncoder = Callable[..., MemoryEncoder]


@pytest.fixture(scope="session")
def samples(items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> list[TrainingSample]:
    return [
        replace(TrainingSample.of(questions[place % len(questions)], items[:2], answer="Lima"), sample_id=f"s{place}")
        for place in range(12)
    ]


def make_objective(encoder: MemoryEncoder, samples: list[TrainingSample]) -> AnswerFromMemory:
    recipe = TrainingRecipe(encoder=encoder.recipe, optimizer=OptimizerRecipe(num_steps=2, batch_size=4))
    return AnswerFromMemory(encoder, recipe, samples)


def lengthen(sample: TrainingSample, *, answer: int = 0, items: int = 0) -> TrainingSample:
    longer = [replace(item, text=item.text + " river" * items) for item in sample.items]
    return replace(sample, answer=sample.answer + " river" * answer, items=longer)


def test_the_longest_samples_are_found_by_their_answers_and_by_their_items(samples: list[TrainingSample]):
    changed = list(samples)
    changed[3] = lengthen(samples[3], answer=90)
    changed[8] = lengthen(samples[8], items=80)
    changed[5] = replace(samples[5], question="一" * 300)
    found = find_longest(as_samples(changed), 4, num_items=2)
    assert found[:2] == [8, 5] and found[3] == 3 and len({*found}) == 4
    assert find_longest(as_samples(changed), 1, num_items=2) == [8]
    assert len(find_longest(as_samples(changed[:2]), 4, num_items=2)) == 2
    last_alone = [replace(changed[8], items=[*samples[8].items, changed[8].items[0]]), *samples[:3]]
    assert find_longest(as_samples(last_alone), 1, num_items=3) == [0]
    assert find_longest(as_samples(last_alone), 1, num_items=2) != [0]  # it never shows its last item


def test_a_training_that_fits_is_as_before_the_check(new_encoder: NewEncoder, samples: list[TrainingSample]):
    encoder = new_encoder()
    objective = make_objective(encoder, samples)
    before = {name: weight.clone() for name, weight in encoder.parameters().items()}
    objective.check()
    assert all(weight.grad is None for weight in encoder.parameters().values())
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.parameters().items())


def test_what_is_longer_than_the_model_reads_is_refused_by_name(
    new_encoder: NewEncoder, samples: list[TrainingSample], monkeypatch: pytest.MonkeyPatch
):
    encoder = new_encoder()
    config = encoder.backbone.model.config.get_text_config()
    monkeypatch.setattr(config, "max_position_embeddings", 400)
    make_objective(encoder, samples).check()
    long_answer = [*samples[:7], lengthen(samples[7], answer=600), *samples[8:]]
    with pytest.raises(ValueError, match=r"the sample s7 has \d+ tokens, but the model reads at most 400"):
        make_objective(encoder, long_answer).check()
    long_item = [*samples[:9], lengthen(samples[9], items=600), *samples[10:]]
    with pytest.raises(ValueError, match=r"the item \w+ \(.*\) has \d+ tokens, but .* Shorten its text, or leave it"):
        make_objective(encoder, long_item).check()
