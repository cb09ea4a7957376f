"""The costs of stages that generate: rows, tokens, seconds and failures, summed over shards that have these columns.

Uses Parquet, but not Prefect, Ray or the warehouse.
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
    """Sums over rows. `seconds` adds up the time of all workers; a `failed` row has an error and no answer."""

    prompt_tokens: int
    answer_tokens: int
    seconds: float
    rows: int
    failed: int


def sum_costs(paths: Iterable[Path]) -> Costs | None:
    """Sum the cost columns of some shards; None if there are no rows, or a shard lacks one of the columns."""
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
    """Note the costs of all finished shards as measured values of the artefact.

    Rows and failures are those of shards with the first prefix. Tokens and seconds include the shards with other
    prefixes, such as the verdicts that are written beside their drafts.
    """
    costs = {prefix: sum_costs(artefact.folder.glob(f"{prefix}-*.parquet")) for prefix in (rows, *others)}
    if (own := costs[rows]) is None:
        return
    for name, value in asdict(own).items():
        beside = sum(getattr(each, name) for prefix, each in costs.items() if each and prefix != rows)
        artefact.measure(name, value + beside if name in SUMMED else value)
