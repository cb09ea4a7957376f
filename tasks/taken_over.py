"""Rows that earlier artefacts of a stage have: found by a key that hashes all that decides them, and not made again."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import pyarrow.parquet as pq

from tasks.partial import Partial
from tasks.store import Record, Store
from warehouse.schemas import check_rows


def take_over(artefact: Partial, shard: str, find: Callable[[], list[dict[str, Any]]], *, table: str, key: str) -> set:
    """Write down as a shard what `find` finds among earlier rows, and how many these are; returns their keys.

    It is decided once: an artefact that goes on makes what it would have made.
    """
    path = artefact.folder / f"{shard}.parquet"
    if not path.exists():
        rows = find()
        artefact.write_shard(shard, check_rows(table, rows))
        artefact.measure(shard.removeprefix("part-").replace("-", "_"), len(rows))
    return set(pq.read_table(path, columns=[key])[key].to_pylist())


def earlier_rows(
    store: Store, stage: str, is_alike: Callable[[Record], bool], *, key: str, keys: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows with one of these keys, oldest first, of undamaged artefacts whose record `is_alike`."""
    for record in store.records(stage):
        if not is_alike(record) or store.damage(record):
            continue
        for path in sorted(store.path(stage, record["fingerprint"]).glob("part-*.parquet")):
            if keys and key in pq.read_schema(path).names:
                yield from pq.read_table(path, filters=[(key, "in", keys)]).to_pylist()
