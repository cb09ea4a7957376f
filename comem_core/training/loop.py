"""The training loop: an objective that gives the loss of any step, AdamW, and a report after every step.

A step's batch and its random state depend only on (seed, step). A run that was killed and resumed from a checkpoint
therefore ends with the same weights as an uninterrupted one. Independent of files, Ray and model families.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from comem_core.memory.checkpoint import copy_weights, refuse_not_finite
from comem_core.training.recipe import OptimizerRecipe
from comem_core.training.reports import NotFiniteError, StepReport
from comem_core.training.workers import is_distributed, sum_gradients, sum_over_workers

COUNTED = ("samples", "tokens")


class Objective(ABC):
    """Something that can be trained: its trainable parameters by name, and the gradient of a numbered step."""

    @abstractmethod
    def trainable(self) -> Mapping[str, nn.Parameter]: ...

    @abstractmethod
    def accumulate_gradient(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        """Add the gradient of this step's batch to the parameters; return the loss and measures to report.

        `samples` and `tokens` are among the measures. Of several workers, each has a share of the batch; the sum of
        their gradients, losses and measures is that of the batch.
        """

    def check(self) -> None:  # noqa: B027 (most have nothing to check)
        """Try before the first step what could stop a later one; it changes no weight.

        Raises ValueError that names a sample which cannot be trained on, or MemoryError.
        """

    def describe_batch(self, step: int) -> str:
        """Name what the batch of a step holds, for a message."""
        return "drawn from its seed"

    def describe(self) -> Mapping[str, Any]:
        """Return what decides the batches and the loss, in plain values by name; it tells trainings apart."""
        return {}


def compute_learning_rate(step: int, recipe: OptimizerRecipe) -> float:
    """Return a step's learning rate: linear warm-up over `warmup_ratio` of the steps, then cosine decay."""
    warmup = max(1, round(recipe.num_steps * recipe.warmup_ratio))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, recipe.num_steps - warmup)
    floor = recipe.final_learning_rate_ratio
    return recipe.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


class LossObjective(Objective):
    """An objective whose batch is one graph, for a single worker."""

    @abstractmethod
    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        """Return the loss of this step's batch, and measures to report, among them `samples` and `tokens`."""

    def accumulate_gradient(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        loss, measures = self.loss(step)
        loss.backward()
        return loss.detach(), measures


class Training:
    """A training run that can be saved after any step and resumed from there."""

    def __init__(self, objective: Objective, recipe: OptimizerRecipe):
        self.objective, self.recipe, self.step = objective, recipe, 0
        self.parameters = dict(objective.trainable())
        if not self.parameters:
            raise ValueError("nothing to train: the objective has no trainable parameters")
        # No decay on biases and norms (one-dimensional), as in the authors' script.
        decayed = [parameter for parameter in self.parameters.values() if parameter.ndim > 1]
        others = [parameter for parameter in self.parameters.values() if parameter.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.learning_rate,
            betas=recipe.betas,
        )

    @property
    def done(self) -> bool:
        return self.step >= self.recipe.num_steps

    def run(self, on_step: Callable[[StepReport], None], *, until: int | None = None) -> None:
        """Train up to step `until` (default: the recipe's last step), and report every step."""
        while self.step < min(self.recipe.num_steps, until if until is not None else self.recipe.num_steps):
            on_step(self._run_step())

    def _run_step(self) -> StepReport:
        started = time.perf_counter()
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        rate = compute_learning_rate(self.step, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        loss, measures = self.objective.accumulate_gradient(self.step)
        norm = self._measure_gradient()
        # Before the weights take it, and before the sum, which gives every worker the fault of one.
        self._refuse_not_finite({"loss": loss, "gradient": norm})
        if is_distributed():
            sum_gradients(self._list_gradients())
            norm = self._measure_gradient()
        nn.utils.clip_grads_with_norm_(self.parameters.values(), self.recipe.gradient_clip, norm)
        self.optimizer.step()
        self._refuse_not_finite({"weights": nn.utils.get_total_norm(self.parameters.values())})
        self.step += 1
        shares = torch.tensor([float(loss), *measures.values()], dtype=torch.float64, device=loss.device)
        totals = sum_over_workers(shares).tolist()
        found = dict(zip(measures, totals[1:], strict=True))
        return StepReport(
            step=self.step,
            loss=totals[0],
            learning_rate=rate,
            samples=int(found["samples"]),
            tokens=int(found["tokens"]),
            seconds=time.perf_counter() - started,
            measures={name: value for name, value in found.items() if name not in COUNTED},
        )

    def _measure_gradient(self) -> Tensor:
        """Return the length of the gradient over all parameters."""
        return nn.utils.get_total_norm(self._list_gradients())

    def _list_gradients(self) -> list[Tensor]:
        return [each.grad for each in self.parameters.values() if each.grad is not None]

    def _refuse_not_finite(self, found: Mapping[str, Tensor]) -> None:
        """Raise NotFiniteError on all workers if a value is not finite on one of them."""
        for name, value in found.items():
            if not torch.isfinite(sum_over_workers(value.float())):
                raise NotFiniteError(
                    name,
                    f"step {self.step + 1}: the {name} came to {float(value)}, so training stops and keeps nothing of "
                    f"this step. The batch: {self.objective.describe_batch(self.step)}. Look at these samples, or "
                    f"lower learning_rate ({self.recipe.learning_rate:g}) or gradient_clip "
                    f"({self.recipe.gradient_clip:g})",
                    is_cause=not torch.isfinite(value).item(),
                )

    @cached_property
    def description(self) -> dict[str, Any]:
        """What decides the course of this training, in plain values by name; it is in every state."""
        return {"optimizer": asdict(self.recipe), **self.objective.describe()}

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "training": self.description,
            "step": self.step,
            "parameters": {name: parameter.detach().cpu() for name, parameter in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a state.

        Raises ValueError unless it is of this training: same recipes and samples, and finite weights of the same names
        and shapes.
        """
        if other := _list_differences(state["training"], self.description):
            raise ValueError(f"this state is of another training: {'; '.join(other)}")
        missing, extra = self.parameters.keys() - state["parameters"], state["parameters"].keys() - self.parameters
        if missing or extra:
            raise ValueError(
                f"this checkpoint is of another model: missing {sorted(missing)[:3]}, unexpected {sorted(extra)[:3]}"
            )
        refuse_not_finite(state["parameters"], where="this state")
        copy_weights(state["parameters"], self.parameters)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def _is_alike(key: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether a value is the same in both; an option that one of them does not know is off in the other."""
    if key in one and key in other:
        return one[key] == other[key]
    return not (one if key in one else other)[key]


def _list_differences(has: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Say in which values two descriptions of a training differ."""
    found = []
    for name in sorted({*has, *wanted}):
        one, other = has.get(name), wanted.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += [
                f"{name}: {key} is {one.get(key)!r}, here {other.get(key)!r}"
                for key in sorted({*one, *other})
                if not _is_alike(key, one, other)
            ]
        elif one != other:
            found.append(f"{name} is {one!r}, here {other!r}")
    return found
