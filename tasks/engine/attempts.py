"""How long one try of a stage may take, and how often it is tried again: `COMEM_STAGE_SECONDS` and
`COMEM_STAGE_RETRIES`.

Each is a number for all stages, numbers by stage, or both: `3600,train-encoder=86400`.
"""

import difflib
from dataclasses import dataclass
from typing import ClassVar, Self

STAGES = frozenset((
    "answer-benchmark", "augment-pictures", "augment-questions", "build-index", "choose-k", "collect-against",
    "collect-benchmark", "compare-encoders", "compare-searches", "compare-with-last", "encode-memory", "filter-qa",
    "find-contamination", "find-encoders", "find-start", "fit-gate", "hold-out", "ingest-knowledge",
    "judge-predictions", "judge-qa", "pose-questions", "pretrain-base-further", "pretrain-base-model",
    "pretrain-encoder-start", "report-evaluations", "retrieve", "score-predictions", "set-aside", "synthesize-qa",
    "train-encoder", "train-transfer", "translate-qa", "write-card", "write-ended-report", "write-report",
))  # fmt: skip

MOST_RETRIES = 50  # as Prefect allows
LONGEST_DELAY = 300.0


@dataclass(frozen=True)
class ByStage:
    """A number for `every` stage, and numbers for those that are `named`."""

    every: float | None = None
    named: tuple[tuple[str, float], ...] = ()
    EXPECTED: ClassVar[str]

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `NUMBER`, `STAGE=NUMBER`, or several of them with commas between.

        Raises:
            ValueError: there is no such stage, something is given twice, or a number is not what is expected.
        """
        every, named = None, dict[str, float]()
        for part in text.split(","):
            name, equals, number = (each.strip() for each in part.rpartition("="))
            value = cls._read_number(number)
            if name in named or (not equals and every is not None):
                raise ValueError(f"it gives {name or 'all stages'} twice")
            if not equals:
                every = value
            elif name in STAGES:
                named[name] = value
            else:
                nearest = difflib.get_close_matches(name, sorted(STAGES), n=1, cutoff=0.0)[0]
                raise ValueError(f"there is no stage {name!r}; did you mean {nearest}?")
        return cls(every, tuple(named.items()))

    @classmethod
    def _read_number(cls, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not cls._allows(value):
            raise ValueError(
                f"{text!r} is not {cls.EXPECTED}; expected one for all stages, or STAGE=NUMBER, with commas between"
            )
        return value

    @classmethod
    def _allows(cls, value: float) -> bool:
        raise NotImplementedError

    def of(self, stage: str) -> float | None:
        return dict(self.named).get(stage, self.every)


class SecondsByStage(ByStage):
    """How long one try of a stage may take, in seconds."""

    EXPECTED = "a number of seconds above 0"

    @classmethod
    def _allows(cls, value: float) -> bool:
        return 0 < value < float("inf")


class RetriesByStage(ByStage):
    """How often a stage that failed is tried again."""

    EXPECTED = f"a whole number from 0 to {MOST_RETRIES}"

    @classmethod
    def _allows(cls, value: float) -> bool:
        return 0 <= value <= MOST_RETRIES and value.is_integer()


def list_delays(retries: int) -> list[float]:
    """Return the seconds to wait before each further try: twice as long each time, up to `LONGEST_DELAY`."""
    return [min(2.0**number, LONGEST_DELAY) for number in range(retries)]


class StageTimedOut(TimeoutError):
    """A stage took longer than it may, in each of its tries. What it finished is kept."""
