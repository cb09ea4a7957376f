"""A measured number as a row of `docs/results/<topic>.json`, with what it takes to measure it again.

Knows no measure. Rows have the fields of DESIGN's section 9; `low` and `high` are a 95 % interval, or null.
"""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path("docs/results")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number."""

    measure: str
    recipe: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str
    n: int
    seeds: Sequence[int]
    command: str
    commit: str | None = None
    machine: str = ""


def describe_machine() -> str:
    """Name this machine by what decides a speed: cores, memory, system, Python."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{os.cpu_count()} cores, {memory} GiB memory, {platform.system()}, Python {platform.python_version()}"


def commit() -> str | None:
    """The commit that is checked out, or None outside a checkout."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or None


def write_results(
    topic: str, rows: Sequence[Measured], *, replaces: Callable[[str], bool] = lambda measure: True
) -> Path:
    """Write rows in place of those whose measure `replaces` says, in a stable order; others stay as they are."""
    path = RESULTS / f"{topic}.json"
    stored: list[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    kept = [row for row in stored if not replaces(row["measure"])]
    new = [
        asdict(row) | {"commit": row.commit or commit(), "machine": row.machine or describe_machine()} for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, *new], indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
