"""The training loop: its schedule, what it decays and clips, and that a stopped run ends as an unbroken one."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.tiny_base import save_state
from comem_core.training.loop import LossObjective, Training, compute_learning_rate
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe
from comem_core.training.reports import NotFiniteError, StepReport
from comem_core.training.samples import TrainingSample


class Line(LossObjective):
    """A straight line fitted to points of a step's own: the smallest objective there is."""

    def __init__(self, *, scale: float = 1.0):
        torch.manual_seed(0)
        self.layer, self.scale = nn.Linear(3, 2), scale

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return dict(self.layer.named_parameters())

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        points = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        error = (self.layer(points) - points[:, :2]).square().mean()
        return self.scale * error, {"samples": 4.0, "tokens": 12.0, "error": float(error.detach())}


def recipe_of(**changes: Any) -> OptimizerRecipe:
    return OptimizerRecipe(**({"num_steps": 10, "batch_size": 4, "learning_rate": 1e-2} | changes))


def answering(encoder: MemoryEncoder, items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]) -> Training:
    samples = [TrainingSample.of(question, items[place : place + 2]) for place, question in enumerate(questions[:4])]
    recipe = TrainingRecipe(
        encoder=encoder.recipe, optimizer=recipe_of(num_steps=5, batch_size=3), random_item_count=True
    )
    return Training(AnswerFromMemory(encoder, recipe, samples), recipe.optimizer)


def test_the_learning_rate_warms_up_in_a_line_and_falls_as_a_cosine():
    recipe = recipe_of(num_steps=110, learning_rate=2.0, warmup_ratio=10 / 110, final_learning_rate_ratio=0.1)
    assert compute_learning_rate(0, recipe) == pytest.approx(0.2)
    assert compute_learning_rate(4, recipe) == pytest.approx(1.0)
    assert (
        compute_learning_rate(9, recipe) == compute_learning_rate(10, recipe) == pytest.approx(2.0)
    )  # the end of warm-up
    assert compute_learning_rate(35, recipe) == pytest.approx(0.2 + 1.8 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert compute_learning_rate(60, recipe) == pytest.approx(1.1)  # halfway
    assert compute_learning_rate(110, recipe) == pytest.approx(0.2)
    rates = [compute_learning_rate(step, recipe) for step in range(10, 110)]
    assert rates == sorted(rates, reverse=True)


def test_a_run_of_one_step_has_a_learning_rate():
    assert compute_learning_rate(0, recipe_of(num_steps=1, learning_rate=2.0)) == 2.0


def test_the_defaults_are_those_of_the_released_script():
    recipe = OptimizerRecipe(num_steps=1, batch_size=16)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.betas) == (5e-5, 0.1, (0.9, 0.999))
    assert (recipe.warmup_ratio, recipe.gradient_clip) == (0.03, 3.0)


def test_every_step_is_reported_with_its_rate_and_its_counts():
    reports: list[StepReport] = []
    recipe = recipe_of()
    training = Training(Line(), recipe)
    training.run(reports.append)
    assert training.done
    assert [report.step for report in reports] == list(range(1, 11))
    assert [report.learning_rate for report in reports] == [compute_learning_rate(step, recipe) for step in range(10)]
    assert {(report.samples, report.tokens) for report in reports} == {(4, 12)}
    assert all(set(report.measures) == {"error"} and report.seconds > 0 for report in reports)
    training.run(reports.append)  # nothing is left to do
    assert len(reports) == 10


def test_weights_decay_and_biases_and_norms_do_not():
    objective = Line(scale=0.0)  # no gradient: whatever moves, moves by decay alone
    before = copy.deepcopy(objective.layer.state_dict())
    Training(objective, recipe_of(weight_decay=0.1, warmup_ratio=0.0)).run(lambda report: None, until=1)
    torch.testing.assert_close(objective.layer.weight.detach(), before["weight"] * (1 - 1e-2 * 0.1))
    assert torch.equal(objective.layer.bias, before["bias"])


def test_the_decayed_parameters_of_an_encoder_are_its_matrices(
    new_encoder: Callable[..., MemoryEncoder], items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]
):
    training = answering(new_encoder(), items, questions)
    decayed, others = ({id(each) for each in group["params"]} for group in training.optimizer.param_groups)
    for name, parameter in training.parameters.items():
        kept = name.endswith(".bias") or "norm" in name or name.endswith("feed_forward.0.weight")
        assert (id(parameter) in others) == kept != (id(parameter) in decayed), name


@pytest.mark.parametrize(("scale", "clipped"), [(1e4, True), (1e-4, False)])
def test_the_gradient_is_clipped_where_it_is_too_long(scale: float, clipped: bool):
    objective = Line(scale=scale)
    Training(objective, recipe_of(gradient_clip=0.5)).run(lambda report: None, until=1)
    gradients = [weight.grad for weight in objective.layer.parameters() if weight.grad is not None]
    assert len(gradients) == 2
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    assert norm == pytest.approx(0.5, rel=1e-3) if clipped else 0 < norm < 0.01


@pytest.mark.parametrize("stop", [1, 3])
def test_a_run_that_was_stopped_ends_with_the_weights_of_an_unbroken_one(
    new_encoder: Callable[..., MemoryEncoder],
    items: tuple[KnowledgeItem, ...],
    questions: tuple[Question, ...],
    tmp_path: Path,
    stop: int,
):
    reports: dict[str, list[float]] = {"unbroken": [], "stopped": []}
    unbroken = answering(new_encoder(lora_dropout=0.2), items, questions)
    unbroken.run(lambda report: reports["unbroken"].append(report.loss))

    first = answering(new_encoder(lora_dropout=0.2), items, questions)
    first.run(lambda report: reports["stopped"].append(report.loss), until=stop)
    save_state(first, tmp_path / "state.pt")
    torch.manual_seed(99)  # another process has drawn other numbers before
    second = answering(new_encoder(lora_dropout=0.2), items, questions)
    second.load(torch.load(tmp_path / "state.pt", weights_only=True))
    assert second.step == stop
    second.run(lambda report: reports["stopped"].append(report.loss))

    assert reports["stopped"] == reports["unbroken"]
    different = [
        name for name, weight in second.parameters.items() if not torch.equal(weight, unbroken.parameters[name])
    ]
    assert different == []


def test_dropout_is_on_in_training_or_the_test_above_would_say_little(
    new_encoder: Callable[..., MemoryEncoder], items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]
):
    ends = []
    for dropout in (0.0, 0.2):
        training = answering(new_encoder(lora_dropout=dropout), items, questions)
        training.run(lambda report: None, until=2)
        ends.append(training.parameters["qformer.project_out.weight"].detach().clone())
    assert not torch.equal(*ends)


def test_a_state_of_another_model_is_refused_by_name():
    training = Training(Line(), recipe_of())
    state = training.state()
    state["parameters"] = {"weight": state["parameters"]["weight"], "gate": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"another model: missing \['bias'\], unexpected \['gate'\]"):
        training.load(state)


def test_an_objective_without_parameters_is_refused():
    class Nothing(Line):
        def trainable(self) -> Mapping[str, nn.Parameter]:
            return {}

    with pytest.raises(ValueError, match="nothing to train"):
        Training(Nothing(), recipe_of())


def test_a_saved_state_is_replaced_whole(tmp_path: Path):
    training, path = Training(Line(), recipe_of()), tmp_path / "deeper" / "state.pt"
    for until in (1, 2):
        training.run(lambda report: None, until=until)
        save_state(training, path)
        assert torch.load(path, weights_only=True)["step"] == until
    assert [each.name for each in path.parent.iterdir()] == ["state.pt"]


class Broken(Line):
    """Its loss, or only the gradient of it, is not a number from a step on."""

    def __init__(self, *, step: int, what: str):
        super().__init__()
        self.step, self.what = step, what

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        loss, measures = super().loss(step)
        if step < self.step:
            return loss, measures
        weights = self.layer.weight.sum()
        return loss + (float("nan") * weights if self.what == "loss" else (weights - weights).sqrt()), measures

    def describe_batch(self, step: int) -> str:
        return f"points of step {step}"


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_the_batch_and_the_last_good_weights(what: str):
    training, reports = Training(Broken(step=2, what=what), recipe_of()), []
    with pytest.raises(NotFiniteError, match=rf"step 3: the {what} came to (nan|inf).*points of step 2.*learning_rate"):
        training.run(reports.append)
    good = Training(Line(), recipe_of())
    good.run(lambda report: None, until=2)
    assert training.step == len(reports) == 2
    assert all(torch.equal(weight, good.parameters[name]) for name, weight in training.parameters.items())


def test_weights_that_overflow_stop_it_too():
    training = Training(Line(), recipe_of(learning_rate=3e37, warmup_ratio=0.0, weight_decay=30.0))
    with pytest.raises(NotFiniteError, match="step 1: the weights came to"):
        training.run(lambda report: None)
    assert training.step == 0


def test_the_samples_of_a_batch_that_went_wrong_are_named(
    new_encoder: Callable[..., MemoryEncoder], items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]
):
    training = answering(new_encoder(), items, questions)
    with torch.no_grad():
        training.parameters["qformer.project_out.weight"].fill_(float("nan"))
    with pytest.raises(NotFiniteError) as caught:
        training.run(lambda report: None)
    ids = [question.question_id for question in questions[:4]]
    assert sum(each in str(caught.value) for each in ids) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda recipe, samples: (replace(recipe, optimizer=replace(recipe.optimizer, batch_size=4)), samples),
         "optimizer: batch_size is 3, here 4"),
        (lambda recipe, samples: (replace(recipe, optimizer=replace(recipe.optimizer, seed=1)), samples),
         "seed is 0, here 1"),
        (lambda recipe, samples: (replace(recipe, items_per_sample=2), samples), "items_per_sample is 3, here 2"),
        (lambda recipe, samples: (recipe, samples[:3]), r"samples is '4 \(.*\)', here '3 \("),
        (lambda recipe, samples: (recipe, [replace(samples[0], answer="another"), *samples[1:]]), "samples is"),
    ],
)  # fmt: skip
def test_the_state_of_another_training_is_refused_and_the_difference_named(
    new_encoder: Callable[..., MemoryEncoder],
    items: tuple[KnowledgeItem, ...],
    questions: tuple[Question, ...],
    change: Callable[..., Any],
    said: str,
):
    first = answering(new_encoder(), items, questions)
    objective = first.objective
    assert isinstance(objective, AnswerFromMemory)
    recipe, samples = change(objective.recipe, list(objective.batches.samples))
    other = Training(AnswerFromMemory(new_encoder(), recipe, samples), recipe.optimizer)
    with pytest.raises(ValueError, match=f"of another training: .*{said}"):
        other.load(first.state())
    assert other.step == 0
    other.load(other.state())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weight: weight[:1], r"'weight' is \(1, 3\), expected \(2, 3\)"),
        (lambda weight: weight * float("nan"), "this state is damaged: 'weight' holds values that are not finite"),
    ],
)
def test_a_state_whose_weights_do_not_fit_or_are_not_finite_is_refused(change: Callable[[Tensor], Tensor], said: str):
    training = Training(Line(), recipe_of())
    state = training.state()
    state["parameters"] = {name: change(weight) for name, weight in state["parameters"].items()}
    before = {name: weight.detach().clone() for name, weight in training.parameters.items()}
    with pytest.raises(ValueError, match=said):
        training.load(state)
    assert all(torch.equal(weight, before[name]) for name, weight in training.parameters.items())
