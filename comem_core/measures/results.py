"""A measured number as a row of `docs/results/<topic>.json`, with the command that measures it again.

Independent of what is measured. Rows have the fields of DESIGN's section 9; `low` and `high` are a 95 % interval, or
null.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comem_core.measures.provenance import describe_machine, find_commit

RESULTS = Path("docs/results")

STATISTICS = {
    "infoseek": "InfoSeek's final score: the harmonic mean of the accuracy of both splits",
    "accuracy": "the share of answers that InfoSeek's metric marks as right, numbers within 10 %",
    "contains": "the share of answers that contain the right one",
    "em": "exact match: the share of answers that are a gold answer, word by word",
    "alone": "the share of questions that the gate answers without memory",
    "found": "the share of questions whose gold item is among the retrieved ones",
    "other": "the share of answers that are another value of the item",
    "coverage": "the share of simulations in which the interval holds the truth",
    "power": "the share of simulations in which the difference is seen",
}
"""What a measure in percent is, by the first word of its name. A page that shows some says it in these words, which
`tests/layering/test_numbers.py` checks."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number. Where `commit` or `machine` is empty, `write_results` fills in the current one."""

    measure: str
    recipe: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str
    n: int
    seeds: Sequence[int] = (0,)
    command: str
    commit: str | None = None
    machine: str = ""


def find_statistic(measure: str) -> str:
    """Return the first word of a measure's name, as `em` of `em_memory` and of `em/ar`."""
    return re.split("[_/]", measure)[0]


def write_results(topic: str, rows: Sequence[Measured], *, keep_others: bool = True, folder: Path = RESULTS) -> Path:
    """Write rows: they replace stored rows of the same measure, and new measures are appended.

    Other stored rows stay as they are; without `keep_others` they are removed.
    """
    path = folder / f"{topic}.json"
    now = {"commit": find_commit(), "machine": describe_machine()}
    new = {row.measure: asdict(row) | {name: getattr(row, name) or now[name] for name in now} for row in rows}
    assert len(new) == len(rows), "two rows have the same measure"
    stored = read_results(path) if path.is_file() else []
    if not keep_others:
        stored = [row for row in stored if row["measure"] in new]
    ordered = [new.pop(row["measure"], row) for row in stored] + list(new.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a topic as they are stored."""
    return json.loads(path.read_text(encoding="utf-8"))
