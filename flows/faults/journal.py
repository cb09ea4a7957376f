"""What was tried in a folder and what was found, a line of JSON for each round, so that the command goes on there."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"
KILLS, UNBROKEN = "kills", "unbroken"


@dataclass(kw_only=True)
class Round:
    """One or several runs on which a fault was tried: of which numbers, what was done, and what was found wrong."""

    fault: str
    numbers: Sequence[int]
    killed: list[tuple[str, float, list[str]]] = field(default_factory=list)
    """Of each kill its target, the seconds since the last start or kill, and the stages that were unfinished."""
    starts: int = 1
    seconds: float = 0.0
    rows_lost: int = 0
    wrong: list[str] = field(default_factory=list)


class Journal:
    """The rounds of a folder, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.rounds = [Round(**json.loads(line)) for line in lines]

    def add(self, ended: Round) -> None:
        """Write down a round that has ended."""
        self.rounds.append(ended)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(ended), ensure_ascii=False) + "\n")

    @property
    def next_number(self) -> int:
        """The number of a run on which no fault was tried yet."""
        return 1 + max(
            (number for each in self.rounds if each.fault != UNBROKEN for number in each.numbers), default=-1
        )

    def list_of(self, fault: str) -> list[Round]:
        """List the rounds of a fault."""
        return [each for each in self.rounds if each.fault == fault]

    def count_kills(self) -> Counter[str]:
        """Count the kills of each target."""
        return Counter(target for each in self.rounds for target, *_ in each.killed)

    def find_duration(self) -> float | None:
        """Return how long an unbroken run took; None if there was none yet."""
        return next((each.seconds for each in self.list_of(UNBROKEN)), None)

    def list_unbroken(self) -> set[int]:
        """Return the numbers of the runs that were also made without a fault."""
        return {number for each in self.list_of(UNBROKEN) for number in each.numbers}


def describe_round(ended: Round) -> str:
    """Return a line about a round that has ended."""
    told: list[Any] = [f"{ended.fault} {', '.join(map(str, ended.numbers))}"]
    told += [f"{len(ended.killed)} kills"] if ended.killed else []
    told += [f"{ended.starts} starts", f"{ended.seconds:.0f} s"]
    return ", ".join(told) + (
        ": all is well" if not ended.wrong else "".join(f"\n    WRONG {each}" for each in ended.wrong)
    )
