"""The range of numbers that a field accepts, declared beside the field (`num_steps: OneOrMore`)."""

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Finite numbers from `least` (with `above`, greater than it) to `most` (with `below`, less than it)."""

    least: float
    most: float = math.inf
    above: bool = False
    below: bool = False

    def allows(self, number: float) -> bool:
        """Tell whether a number is finite and in the range."""
        enough = number > self.least if self.above else number >= self.least
        not_too_much = number < self.most if self.below else number <= self.most
        return abs(number) < math.inf and enough and not_too_much

    def __str__(self) -> str:
        if self.most < math.inf:
            return f"{self.least:g} to {'below ' if self.below else ''}{self.most:.0f}"
        return f"more than {self.least:g}" if self.above else f"{self.least:g} or more"


OneOrMore = Annotated[int, Range(1)]
NoneOrMore = Annotated[int, Range(0)]
Share = Annotated[float, Range(0, 1)]
HashBits = Annotated[int, Range(0, 128)]
"""A number of bits of a picture's hash, which has 128."""
