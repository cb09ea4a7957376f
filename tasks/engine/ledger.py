"""The costs of stages: what rows cost that a run made, and what a row of a stage is going to cost.

Rows that were taken over from earlier artefacts keep what they cost then, and cost this run nothing. Uses the store and
Parquet, but not Prefect, Ray or the warehouse.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.addresses.copies import is_table, open_folder
from comem_core.serving.layout import Record
from tasks.engine.partial import BATCHES, Partial, is_taken_over, read_batch
from tasks.engine.store import Store

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
    """Note the costs of all finished shards as measured values of the artefact, without rows that were taken over.

    Rows and failures are those of shards with the first prefix. Tokens and seconds include the shards with other
    prefixes, such as the verdicts that are written beside their drafts. Nothing is noted if no row was made.
    """
    costs = {prefix: sum_costs(_list_made(artefact.folder, prefix)) for prefix in (rows, *others)}
    if not any(costs.values()):
        return
    own = costs[rows] or Costs(prompt_tokens=0, answer_tokens=0, seconds=0.0, rows=0, failed=0)
    for name, value in asdict(own).items():
        beside = sum(getattr(each, name) for prefix, each in costs.items() if each and prefix != rows)
        artefact.measure(name, value + beside if name in SUMMED else value)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The costs of one row of a stage: seconds of the whole stage, bytes, and tokens (image tokens included)."""

    source: str
    seconds: float
    bytes: float
    tokens: float | None


def count_done_rows(store: Store, stage: str, fingerprint: str) -> int:
    """Count the rows that an interrupted run of a stage has finished."""
    folder = store.open_unfinished(stage, fingerprint)
    return sum(pq.read_metadata(path).num_rows for path in _list_finished(folder))


def measure_rates(
    store: Store, stage: str, fingerprint: str, inputs: Mapping[str, str], *, workers: int
) -> Rates | None:
    """Measure the costs of a row: on the latest similar artefact, else on this artefact's finished shards."""
    earlier = [record for record in store.list_records(stage) if _has_same_models(record, inputs)]
    if (record := _choose_measured(earlier)) is not None:
        made = _count_made(record)
        return Rates(
            source=f"the {made} rows of {record['fingerprint']}",
            seconds=record["seconds"] / made,
            bytes=record["num_bytes"] / record["num_rows"],
            tokens=_find_tokens(store, record),
        )
    finished = _list_finished(store.open_unfinished(stage, fingerprint))
    paths = [path for path in finished if not is_taken_over(path.name)]
    if (costs := sum_costs(paths)) is None:
        return None
    return Rates(
        source=f"the first {costs.rows} rows",
        seconds=costs.seconds / costs.rows / workers,
        bytes=sum(path.stat().st_size for path in paths) / costs.rows,
        tokens=_count_tokens(costs),
    )


def _choose_measured(records: Sequence[Record]) -> Record | None:
    """Return the latest artefact that took over less than half of its rows, or else the one that made most; None if
    none made any. Where few rows were made, the loading of models would count as theirs."""
    mostly = [record for record in records if 2 * _count_made(record) > record["num_rows"]]
    most = max(records, key=_count_made, default=None)
    return mostly[-1] if mostly else most if most and _count_made(most) else None


def _count_made(record: Record) -> int:
    """Count the rows of an artefact that were not taken over."""
    shards = (shard for shard in record["shards"] if is_taken_over(shard["file"]) and "table" not in shard)
    return record["num_rows"] - sum(shard["rows"] for shard in shards)


def _find_tokens(store: Store, record: Record) -> float | None:
    """Return the tokens of a row: as the record has them, else summed over the rows; None if neither counts them."""
    measured = record["measured"]
    if "prompt_tokens" in measured:
        made = measured.get("rows") or _count_made(record)
        return (measured["prompt_tokens"] + measured["answer_tokens"]) / made
    costs = sum_costs(_list_made(open_folder(record["uri"], is_table)))
    return _count_tokens(costs) if costs else None


def _count_tokens(costs: Costs) -> float:
    return (costs.prompt_tokens + costs.answer_tokens) / costs.rows


def _has_same_models(record: Record, inputs: Mapping[str, str]) -> bool:
    """Tell whether the same models made a record, so that its costs are those of this run."""
    return all(record["inputs"].get(role) == inputs.get(role) for role in ("backbone", "reader", "writer"))


def _list_made(folder: Path, prefix: str = "part") -> list[Path]:
    return [path for path in folder.glob(f"{prefix}-*.parquet") if not is_taken_over(path.name)]


def _list_finished(partial_folder: Path) -> list[Path]:
    batches = (partial_folder / BATCHES).glob("*/[0-9]*.parquet")
    return [*partial_folder.glob("part-*.parquet"), *(path for path in batches if read_batch(path) is not None)]
