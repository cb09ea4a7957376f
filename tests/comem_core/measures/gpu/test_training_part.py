"""What the GPU kit counts and reports of training steps."""

import torch
from torch.nn.functional import linear

from comem_core.measures.gpu.cards import TimeLimit
from comem_core.measures.gpu.setup import Setup
from comem_core.measures.gpu.training import CountedOperations, estimate_tensors, make_objective, measure_training
from comem_core.training.recipe import ComputeOptions


def test_operations_are_counted_forward_and_backward():
    read_BD, weight_ED = torch.ones(3, 4, requires_grad=True), torch.ones(5, 4, requires_grad=True)
    with CountedOperations() as counted:
        linear(read_BD, weight_ED).sum().backward()
    assert counted.total == 3 * (2 * 3 * 4 * 5)


def test_a_step_in_micro_batches_with_checkpoints_computes_more(setup: Setup):
    totals = {}
    for tokens in (None, setup.workload.tokens_at_once):
        objective = make_objective(setup)
        objective.compute = ComputeOptions(tokens_at_once=tokens, gradient_checkpointing=True)
        batch = objective.batches.prepare(objective.batches.samples)
        with CountedOperations() as counted:
            objective.accumulate_batch_gradient(batch)
        totals[tokens] = counted.total
        setup.encoder.set_trainable(False)
    unsplit, cut = totals.values()
    assert 1.1 < cut / unsplit < 1.6  # one forward pass of the encoder more


def test_steps_are_reported_with_rate_memory_and_operations_and_leave_the_encoder_frozen(setup: Setup):
    rows = {row.measure: row for row in measure_training(setup, TimeLimit(0))}
    assert list(rows) == [
        "train_samples_per_s",
        "train_tokens_per_s",
        "train_tokens_at_once",
        "train_tflop_per_step",
        "train_peak_memory_gb",
    ]
    assert all(row.value > 0 for row in rows.values())
    assert rows["train_samples_per_s"].n == 1  # no second repeat begins after the limit
    assert rows["train_tokens_at_once"].value == setup.workload.tokens_at_once
    per_sample = rows["train_tokens_per_s"].value / rows["train_samples_per_s"].value
    # Two items of 340 tokens, their 16 vectors, and a question whose picture has at least 256 tokens.
    assert 2 * 340 + 16 + 256 < per_sample < 2 * 340 + 16 + 256 + 120
    assert not any(weight.requires_grad or weight.grad is not None for weight in setup.encoder.parameters().values())


def test_the_estimate_is_of_the_same_steps(setup: Setup):
    objective = make_objective(setup)
    models = (setup.encoder.backbone.model, setup.encoder.qformer)
    weights = sum(each.nbytes for model in models for each in model.parameters())
    trained = sum(each.nbytes for each in objective.trainable().values())
    estimated = estimate_tensors(setup, objective)
    assert estimated > weights + 3 * trained
    objective.compute = ComputeOptions()
    assert estimate_tensors(setup, objective) > 1.5 * estimated
    setup.encoder.set_trainable(False)
