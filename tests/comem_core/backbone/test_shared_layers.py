"""Every family's layers can be shared out among training workers."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from comem_core.backbone.interface import Backbone
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.training.sharding import count_layer_bytes, shard_encoder
from comem_core.training.workers import sum_gradients
from tests.comem_core.training.two_workers import WORKERS, run_workers


def make_objective(encoder: MemoryEncoder, samples: Sequence[TrainingSample], rank: int = 0) -> AnswerFromMemory:
    num_ranks = WORKERS if torch.distributed.is_initialized() else 1
    optimizer = OptimizerRecipe(num_steps=1, batch_size=len(samples))
    recipe = TrainingRecipe(encoder=encoder.recipe, optimizer=optimizer)
    compute = ComputeOptions(sharded=num_ranks > 1, gradient_checkpointing=num_ranks > 1)
    return AnswerFromMemory(encoder, recipe, samples, rank=rank, num_ranks=num_ranks, compute=compute)


def test_the_gradient_is_that_of_a_worker_with_the_whole_model(
    make_family: Callable[[], Backbone],
    items: tuple[KnowledgeItem, ...],
    questions: tuple[Question, ...],
    tmp_path: Path,
) -> None:
    samples = [
        TrainingSample.of(question, items[place : place + 2], answer="Lima " * (1 + 3 * place))
        for place, question in enumerate(questions[:2])
    ]
    encoder = MemoryEncoder(make_family(), EncoderRecipe(num_heads=4, lora_rank=4, lora_dropout=0.0))
    assert len(count_layer_bytes(encoder.backbone.model)) > 1
    alone = make_objective(encoder, samples)
    alone.accumulate_gradient(0)
    wanted = {name: weight.grad.clone() for name, weight in alone.trainable().items() if weight.grad is not None}
    encoder.set_trainable(False)
    for weight in alone.trainable().values():
        weight.grad = None
    for found in run_workers(compute_gradient_as_worker, encoder, samples, folder=tmp_path):
        assert found.keys() == wanted.keys()
        most = max(float(each.abs().max()) for each in wanted.values())
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * most, msg=name)


def compute_gradient_as_worker(
    encoder: MemoryEncoder, samples: Sequence[TrainingSample], rank: int, folder: Path
) -> None:
    shard_encoder(encoder, "cpu")
    objective = make_objective(encoder, samples, rank)
    objective.accumulate_gradient(0)
    gradients = {name: weight.grad for name, weight in objective.trainable().items() if weight.grad is not None}
    sum_gradients(gradients.values())
    torch.save(gradients, folder / f"{rank}.pt")
