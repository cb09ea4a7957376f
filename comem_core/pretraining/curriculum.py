"""A curriculum: phases one after the other, each for its share of all steps."""

from collections.abc import Sequence
from typing import Protocol, TypeVar


class HasShare(Protocol):
    """A phase says which part of all steps it takes."""

    @property
    def share(self) -> float: ...


AnyPhase = TypeVar("AnyPhase", bound=HasShare)


def find_phase_at(curriculum: Sequence[AnyPhase], place: float) -> AnyPhase:
    """Return the phase at `place`, the part of all steps that is done (0 to 1); the last one also beyond its end."""
    for phase in curriculum:
        if place < phase.share:
            return phase
        place -= phase.share
    return curriculum[-1]
