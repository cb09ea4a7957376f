"""Turns units into Parquet shards: splits the work over workers, and repeats no finished shard or batch.

A worker writes each batch as soon as it is made, so a crash costs only the batches under way. When all batches of a
shard are there, they become the shard.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial as bind
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.engine.context import Context
from tasks.engine.on_ray import map_shards
from tasks.engine.partial import BudgetSpent, Partial
from tasks.engine.telling import report_progress
from tasks.engine.workers import Progress, Workers

Unit = TypeVar("Unit")
Work = Callable[[Sequence[Any]], pa.Table]  # turns one batch of units into rows
MakeWork = Callable[[], Work]  # called once in each worker, so that a model is loaded once
Length = Callable[[Any], int]  # the length of a unit's prompt, in any unit of measure


class WholeShards:
    """Work that also turns the rows of a shard, when all of them are there, into what its Parquet file holds."""

    def complete(self, artefact: Partial, name: str, rows: pa.Table) -> pa.Table:
        """Return the content of the shard `name`, after writing into the artefact what is beside it."""
        raise NotImplementedError


def make_shards(
    context: Context,
    artefact: Partial,
    units: Sequence[Unit],
    make_work: MakeWork,
    *,
    length: Length | None = None,
    prefix: str = "part",
    until: float | None = None,
) -> None:
    """Write `part-00000.parquet`, ..., with one or more rows for each unit. Finished shards and batches are not redone.

    With `length`, the units of a shard are sorted by it, longest first, so that a batch has little padding; the rows of
    the shard have that order, whatever the batch size. No batch begins after `until` (in seconds since 1970).

    Raises BudgetSpent if that time comes before all units are done.
    """
    size = artefact.keep("rows_per_shard", context.rows_per_shard)
    shards = {f"{prefix}-{start // size:05d}": units[start : start + size] for start in range(0, len(units), size)}
    if not shards:
        artefact.write_shard(f"{prefix}-00000", make_work()([]))
    done = artefact.list_finished()
    missing = {name: (name, _sort_units(part, length)) for name, part in shards.items() if name not in done}
    writer = bind(ShardWriter, make_work, artefact, context.batch_size, until)
    show = report_progress()

    def on_done(progress: Progress) -> None:
        if progress.result is not None:
            show(progress)

    written = map_shards(writer, missing, workers=Workers.of(context), on_done=on_done)
    artefact.fetch_finished()
    if None in written.values():
        raise BudgetSpent


def _sort_units(units: Sequence[Unit], length: Length | None) -> Sequence[Unit]:
    return units if length is None else sorted(units, key=length, reverse=True)


class ShardWriter:
    """Runs in a worker: makes and writes each batch of a shard, then writes the whole shard."""

    def __init__(self, make_work: MakeWork, artefact: Partial, batch_size: int, until: float | None) -> None:
        self.work, self.artefact, self.batch_size, self.until = make_work(), artefact, batch_size, until

    def __call__(self, shard: tuple[str, Sequence]) -> int | None:
        """Return the number of rows, or None if the time was over before the shard was done."""
        name, units = shard
        written = self.artefact.batches_of(name)
        done = _read_batches(written.folder)
        while (start := max(done, default=0)) < len(units):
            if self.until is not None and time.time() >= self.until:
                return None
            end = min(start + self.batch_size, len(units))
            done[end] = self.work(units[start:end])
            written.write_shard(f"{end:08d}", done[end])
        # Batches of an older version of the stage may lack a column of newer ones.
        rows = pa.concat_tables([done[end] for end in sorted(done)], promote_options="default")
        if isinstance(self.work, WholeShards):
            rows = self.work.complete(self.artefact, name, rows)
        num_rows = self.artefact.write_shard(name, rows)
        self.artefact.remove_batches(name)
        return num_rows


def _read_batches(folder: Path) -> dict[int, pa.Table]:
    """Return the finished batches of an interrupted worker; each key is the number of units up to the batch's end.

    `Store.begin` has already removed the first batch that a power failure damaged, and all after it.
    """
    return {int(path.stem): pq.read_table(path) for path in sorted(folder.glob("[0-9]*.parquet"))}
