"""Workers that share a frozen model out train as one alone, and none of them holds the whole model."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed.tensor import DTensor

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory import frozen
from comem_core.memory.description import read_description
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.frozen import FrozenWeights
from comem_core.memory.packing import pack_by_tokens, split_further
from comem_core.training.loop import Training
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, OptimizerRecipe, TrainingRecipe
from comem_core.training.reports import SampleRefused
from comem_core.training.samples import TrainingSample
from comem_core.training.sharding import count_layer_bytes, shard_encoder
from tests.comem_core.training.two_workers import WORKERS, run_workers

NewEncoder = Callable[..., MemoryEncoder]
WAYS = {
    "whole": ComputeOptions(sharded=True),
    "cut": ComputeOptions(sharded=True, tokens_at_once=130),
    "cut and computed again": ComputeOptions(sharded=True, tokens_at_once=130, gradient_checkpointing=True),
    "each alone": ComputeOptions(sharded=True, tokens_at_once=1),
}


@pytest.fixture(scope="session")
def samples(items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> list[TrainingSample]:
    """Samples of which the second worker has fewer and shorter items than the first; one item is text alone."""
    text_alone = KnowledgeItem(text="A river.", language="en", source="none", licence="CC0-1.0")
    shown = [items[:3], items[:1], items[3:5], [text_alone], items[1:4], items[:1]]
    return [
        TrainingSample.of(question, each, answer=f"answer {'and so on ' * place}")
        for place, (question, each) in enumerate(zip(questions, shown, strict=False))
    ]


def make_recipe(encoder: MemoryEncoder, *, distillation: float = 0.0) -> TrainingRecipe:
    optimizer = OptimizerRecipe(num_steps=3, batch_size=6, learning_rate=1e-3, gradient_clip=1.0)
    return TrainingRecipe(encoder=encoder.recipe, optimizer=optimizer, distillation=distillation)


def test_micro_batches_are_split_until_there_are_enough():
    packed = pack_by_tokens([9, 2, 8, 3, 1, 1], 18)
    assert packed == [[0, 2], [3, 1, 4, 5]]
    assert split_further(packed, 2) == packed
    assert split_further(packed, 3) == [[0, 2], [3, 1], [4, 5]]
    assert split_further(packed, 6) == [[0], [2], [3], [1], [4], [5]]
    with pytest.raises(AssertionError, match="6 rows cannot be 7"):
        split_further(packed, 7)


@pytest.mark.parametrize(
    ("compute", "distillation"),
    [*((way, 0.0) for way in WAYS.values()), (WAYS["cut and computed again"], 0.5)],
    ids=[*WAYS, "taught by the reader"],
)
def test_workers_that_share_a_model_train_as_one_that_has_it_whole(
    new_adapted_encoder: NewEncoder,
    samples: list[TrainingSample],
    compute: ComputeOptions,
    distillation: float,
    tmp_path: Path,
):
    encoder = new_adapted_encoder(lora_dropout=0.0)
    recipe, reports = make_recipe(encoder, distillation=distillation), []
    alone = Training(AnswerFromMemory(encoder, recipe, samples), recipe.optimizer)
    alone.run(reports.append)
    whole = sum(weight.nbytes for weight in encoder.backbone.model.parameters())
    encoder.set_trainable(False)
    encoder.save(tmp_path / "alone")

    shared = new_adapted_encoder(lora_dropout=0.0)
    found = run_workers(train_as_worker, shared, samples, compute, distillation, folder=tmp_path)
    assert found[0]["items"] != found[1]["items"]  # so that one of them encodes more than it shows
    for each in found:
        assert each["losses"] == pytest.approx([report.loss for report in reports], rel=1e-5)
        for name, weight in alone.parameters.items():
            far = ~torch.isclose(each["parameters"][name], weight.detach(), rtol=1e-3, atol=2e-5)
            # AdamW makes whole steps of gradients near zero, of which rounding decides the sign; half the loss compares
            # the reader with itself, so such gradients are more.
            assert far.float().mean() <= (0.001 if distillation else 0.0), name
        assert each["untouched"] and each["changes"] == []
        # Between the passes a worker holds its part of the layers, and what is not shared.
        assert each["held"] == whole - each["shared"] + each["shared"] // WORKERS
        assert each["shared"] > 0
    described, wanted = (read_description(tmp_path / name) for name in ("saved", "alone"))
    assert described.backbone_sha256 == wanted.backbone_sha256
    assert described.parameters == wanted.parameters


def train_as_worker(
    encoder: MemoryEncoder,
    samples: Sequence[TrainingSample],
    compute: ComputeOptions,
    distillation: float,
    rank: int,
    folder: Path,
) -> None:
    shared = sum(count_layer_bytes(encoder.backbone.model))
    shard_encoder(encoder, "cpu")
    frozen.WHOLE_UP_TO = 0  # as for a large model; this process ends with its work
    before, proof = encoder.backbone.hash_base_weights(), FrozenWeights.of(encoder.backbone)
    recipe, reports = make_recipe(encoder, distillation=distillation), []
    objective = AnswerFromMemory(encoder, recipe, samples, rank=rank, num_ranks=WORKERS, compute=compute)
    training = Training(objective, recipe.optimizer)
    training.run(reports.append)
    weights = list(encoder.backbone.model.parameters())
    own = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights]
    found = {
        "parameters": training.state()["parameters"],
        "losses": [report.loss for report in reports],
        "items": len(objective.batches[0].items),
        "untouched": encoder.backbone.hash_base_weights() == before and not proof.is_whole,
        "changes": proof.find_changes(),
        "held": sum(weight.untyped_storage().nbytes() for weight in own),
        "shared": shared,
    }
    if rank == 0:
        encoder.set_trainable(False)
        encoder.save(folder / "saved")
    torch.save(found, folder / f"{rank}.pt")


@pytest.mark.parametrize("sharded", [False, True])
def test_a_damaged_picture_of_one_worker_stops_all_and_names_the_sample(
    new_adapted_encoder: NewEncoder, samples: list[TrainingSample], sharded: bool, tmp_path: Path
):
    damaged = [replace(each, image=b"not a picture") if place == 3 else each for place, each in enumerate(samples)]
    encoder, compute = new_adapted_encoder(lora_dropout=0.0), ComputeOptions(sharded=sharded)
    found = run_workers(train_until_refused, encoder, damaged, compute, folder=tmp_path)
    [cause] = [each for each in found if each["is_cause"]]
    assert re.search(f"{samples[3].sample_id} cannot be prepared", cause["said"])
    [other] = [each for each in found if not each["is_cause"]]
    assert other["said"] == f"another worker cannot prepare a sample of step {other['steps'] + 1}"
    assert other["steps"] == cause["steps"]


def train_until_refused(
    encoder: MemoryEncoder, samples: Sequence[TrainingSample], compute: ComputeOptions, rank: int, folder: Path
) -> None:
    if compute.sharded:
        shard_encoder(encoder, "cpu")
    recipe = make_recipe(encoder)
    recipe = replace(recipe, optimizer=replace(recipe.optimizer, batch_size=2, num_steps=9))
    objective = AnswerFromMemory(encoder, recipe, samples, rank=rank, num_ranks=WORKERS, compute=compute)
    training = Training(objective, recipe.optimizer)
    with pytest.raises(SampleRefused) as refused:
        training.run(lambda report: None)
    told = {"is_cause": refused.value.is_cause, "said": str(refused.value), "steps": training.step}
    torch.save(told, folder / f"{rank}.pt")
