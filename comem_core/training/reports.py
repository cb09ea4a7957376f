"""What a training tells of itself: a report after every step, and the error that stops it. They need no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

WAITED = "waited_seconds"
"""The measure of how long a step waited for its batch, summed over the workers."""


@dataclass(frozen=True)
class StepReport:
    """The report of one optimizer step. `loss` is the training loss (nats per supervised token); `samples` and `tokens`
    count the batch of all workers."""

    step: int
    loss: float
    learning_rate: float
    samples: int
    tokens: int
    seconds: float
    measures: Mapping[str, float]

    @property
    def row(self) -> dict[str, float]:
        """The columns of the table `training_step`: everything but the measures."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "measures"}


class SampleRefused(ValueError):
    """A sample that a step shows cannot be prepared; the message names it. It would be the same again.

    Of several workers, all stop; the one with `is_cause` has the sample.
    """

    def __init__(self, message: str, is_cause: bool):
        super().__init__(message, is_cause)
        self.message, self.is_cause = message, is_cause

    def __str__(self) -> str:
        return self.message


class NotFiniteError(ArithmeticError):
    """A loss, a gradient or a weight is not a finite number; the message says at which step and with which batch.

    `what` is `loss`, `gradient` or `weights`. Of several workers, all stop; those with `is_cause` have the samples.
    """

    def __init__(self, what: str, message: str, is_cause: bool):
        super().__init__(what, message, is_cause)
        self.what, self.message, self.is_cause = what, message, is_cause

    def __str__(self) -> str:
        return self.message
