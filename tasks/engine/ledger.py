"""What stages that generate have cost: rows, tokens, seconds and failures, summed over shards that say so.

Knows Parquet; nothing of Prefect, Ray or the warehouse.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.engine.partial import Partial

SUMMED = ("prompt_tokens", "answer_tokens", "seconds")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Sums over rows; `seconds` are those of workers, added up; `failed` rows have an error and no answer."""

    prompt_tokens: int
    answer_tokens: int
    seconds: float
    rows: int
    failed: int


def sum_costs(paths: Iterable[Path]) -> Costs | None:
    """Sum what the rows of shards say of themselves; None where there are none, or where they do not count it all."""
    sums, rows, failed = dict.fromkeys(SUMMED, 0.0), 0, 0
    for path in sorted(paths):
        columns = pq.read_schema(path).names
        if not set(SUMMED) <= set(columns):
            return None
        table = pq.read_table(path, columns=[name for name in (*SUMMED, "error") if name in columns])
        rows += table.num_rows
        failed += table.num_rows - table["error"].null_count if "error" in table.column_names else 0
        for name in SUMMED:
            sums[name] += pc.sum(table[name]).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]
    if not rows:
        return None
    prompt, answer, seconds = (sums[name] for name in SUMMED)
    return Costs(
        prompt_tokens=int(prompt), answer_tokens=int(answer), seconds=round(seconds, 3), rows=rows, failed=failed
    )


def measure_cost(artefact: Partial, rows: str = "part", *others: str) -> None:
    """Note the costs of all finished shards as measured: rows and failures of those with the first prefix, tokens and
    seconds of the others too, such as the verdicts that stand beside the drafts they are about."""
    costs = {prefix: sum_costs(artefact.folder.glob(f"{prefix}-*.parquet")) for prefix in (rows, *others)}
    if (own := costs[rows]) is None:
        return
    for name, value in asdict(own).items():
        beside = sum(getattr(each, name) for prefix, each in costs.items() if each and prefix != rows)
        artefact.measure(name, value + beside if name in SUMMED else value)
