"""Units in, Parquet shards out: splits work over workers, and does again neither a shard nor a batch that is done.

A worker writes each batch when it is made, so that a crash costs the batches under way and nothing that was finished;
when all batches of a shard are there, they become the shard.
"""

import shutil
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
from tasks.engine.stage import report_progress
from tasks.engine.workers import Progress, Workers

Unit = TypeVar("Unit")
Work = Callable[[Sequence[Any]], pa.Table]  # turns one batch of units into rows
MakeWork = Callable[[], Work]  # called once in each worker, so that a model is loaded once
Length = Callable[[Any], int]  # how long a unit's prompt is, in any measure


def make_shards(
    stage: str,
    context: Context,
    artefact: Partial,
    units: Sequence[Unit],
    make_work: MakeWork,
    *,
    length: Length | None = None,
    prefix: str = "part",
    until: float | None = None,
) -> None:
    """Write `part-00000.parquet`, ... : one row or more a unit. Finished shards and batches are not redone.

    With `length`, units of a shard are batched by it, longest first, so that a batch carries little padding; then the
    rows of a shard stand in that order, whatever the size of a batch. No batch begins after `until` (in seconds since
    1970).

    Raises BudgetSpent when that time has come before all units were done.
    """
    size = artefact.keep("rows_per_shard", context.rows_per_shard)
    shards = {f"{prefix}-{start // size:05d}": units[start : start + size] for start in range(0, len(units), size)}
    if not shards:
        artefact.write_shard(f"{prefix}-00000", make_work()([]))
    missing = {
        name: (name, _ordered(part, length)) for name, part in shards.items() if name not in artefact.list_finished()
    }
    writer = bind(_Writer, make_work, artefact, context.batch_size, until)
    show = report_progress(stage)

    def on_done(progress: Progress) -> None:
        if progress.result is not None:
            show(progress)

    written = map_shards(writer, missing, workers=Workers.of(context), on_done=on_done)
    if None in written.values():
        raise BudgetSpent


def _ordered(units: Sequence[Unit], length: Length | None) -> Sequence[Unit]:
    return units if length is None else sorted(units, key=length, reverse=True)


class _Writer:
    """In a worker: does the batches of a shard, writing each, then writes the shard whole."""

    def __init__(self, make_work: MakeWork, artefact: Partial, batch_size: int, until: float | None) -> None:
        self.work, self.artefact, self.batch_size, self.until = make_work(), artefact, batch_size, until

    def __call__(self, shard: tuple[str, Sequence]) -> int | None:
        """Return the number of rows, or None when the time was over before the shard was done."""
        name, units = shard
        written = self.artefact.batches_of(name)
        done = _batches_in(written.folder)
        while (start := max(done, default=0)) < len(units):
            if self.until is not None and time.time() >= self.until:
                return None
            end = min(start + self.batch_size, len(units))
            done[end] = self.work(units[start:end])
            written.write_shard(f"{end:08d}", done[end])
        num_rows = self.artefact.write_shard(name, pa.concat_tables(done[end] for end in sorted(done)))
        shutil.rmtree(written.folder)
        return num_rows


def _batches_in(folder: Path) -> dict[int, pa.Table]:
    """Return the batches that an interrupted worker finished, by the place of the unit behind their last one.

    `Store.begin` has removed what a power failure damaged, with what stands behind it.
    """
    return {int(path.stem): pq.read_table(path) for path in sorted(folder.glob("[0-9]*.parquet"))}
