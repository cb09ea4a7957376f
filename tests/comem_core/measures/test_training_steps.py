"""The training steps that are measured beside each other do the same: the authors' way gives our gradient."""

import copy
from collections.abc import Callable

import torch

from comem_core.backbone.qwen_vl import QwenVL
from comem_core.measures.training.authors import accumulate_as_authors
from comem_core.measures.training.steps import NUM_ITEMS, make_samples
from comem_core.memory.encoder import MemoryEncoder
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe


def test_the_authors_way_gives_the_same_gradient_where_answers_are_equally_long(
    backbone: QwenVL, new_adapted_encoder: Callable[..., MemoryEncoder]
):
    samples = make_samples(4)
    assert all(len({item.item_id for item in sample.items}) == NUM_ITEMS for sample in samples)
    ours, theirs = (new_adapted_encoder(lora_dropout=0.0) for _ in range(2))
    recipe = TrainingRecipe(encoder=ours.recipe, optimizer=OptimizerRecipe(num_steps=1, batch_size=4))
    objective = AnswerFromMemory(ours, recipe, samples)
    batch = objective.batches.prepare(samples)
    assert len(set(batch.questions.answer_BL.sum(dim=1).tolist())) == 1
    objective.accumulate_batch_gradient(batch)
    theirs.set_trainable(True)
    accumulate_as_authors(theirs, copy.deepcopy(backbone), samples)
    wanted = {name: each.grad for name, each in ours.parameters().items() if each.grad is not None}
    largest = max(float(each.abs().max()) for each in wanted.values())
    for name, gradient in wanted.items():
        found = theirs.parameters()[name].grad
        assert found is not None
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5 * largest, msg=name)
