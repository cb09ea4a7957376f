"""A curriculum: a sequence of phases, each for its share of all steps."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class HasShare(Protocol):
    """A phase with its share of all steps."""

    @property
    def share(self) -> float: ...


AnyPhase = TypeVar("AnyPhase", bound=HasShare)


def find_phase_at(curriculum: Sequence[AnyPhase], place: float) -> AnyPhase:
    """Return the phase at `place`, the share of all steps that are done (0 to 1); beyond the end, the last phase."""
    for phase in curriculum:
        if place < phase.share:
            return phase
        place -= phase.share
    return curriculum[-1]
