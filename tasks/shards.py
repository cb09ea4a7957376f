"""Units in, Parquet shards out: splits work over workers, and skips the shards that are already there."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial as bind
from typing import Any, TypeVar

import pyarrow as pa

from tasks.context import Context
from tasks.on_ray import map_shards
from tasks.partial import Partial
from tasks.stage import report_progress
from tasks.workers import Workers

Unit = TypeVar("Unit")
Work = Callable[[Sequence[Any]], pa.Table]  # turns one batch of units into rows
MakeWork = Callable[[], Work]  # called once in each worker, so that a model is loaded once


def make_shards(stage: str, context: Context, artefact: Partial, units: Sequence[Unit], make_work: MakeWork) -> None:
    """Write `part-00000.parquet`, ... : one row or more a unit, in the units' order. Finished shards are not redone."""
    size = artefact.keep("rows_per_shard", context.rows_per_shard)
    shards = {f"part-{start // size:05d}": units[start : start + size] for start in range(0, len(units), size)}
    if not shards:
        artefact.write_shard("part-00000", make_work()([]))
    missing = {name: (name, part) for name, part in shards.items() if name not in artefact.finished()}
    writer = bind(_Writer, make_work, artefact, context.batch_size)
    map_shards(writer, missing, workers=Workers.of(context), on_done=report_progress(stage))


class _Writer:
    """In a worker: does the batches of a shard, then writes it whole."""

    def __init__(self, make_work: MakeWork, artefact: Partial, batch_size: int) -> None:
        self.work, self.artefact, self.batch_size = make_work(), artefact, batch_size

    def __call__(self, shard: tuple[str, Sequence]) -> int:
        name, units = shard
        tables = [self.work(batch) for batch in batches(units, self.batch_size)]
        return self.artefact.write_shard(name, pa.concat_tables(tables))


def batches(units: Sequence[Unit], size: int) -> Iterator[Sequence[Unit]]:
    for start in range(0, len(units), size):
        yield units[start : start + size]
