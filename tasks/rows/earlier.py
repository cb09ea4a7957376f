"""Rows of earlier artefacts: found by the key that names everything that decides them, and not made again.

Keys are compared in columns and rows are read a group at a time, so a million rows need little memory. Of an earlier
artefact, only those files are hashed that have a wanted row.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.serving.layout import Record, ShardRecord
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage, list_libraries
from tasks.engine.store import Store, hash_file
from tasks.engine.telling import get_stage_logger

ROWS_AT_ONCE = 4096
NOWHERE = -1

# Shapes: W wanted keys, R rows of an artefact.


class HasKey(Protocol):
    """What one or more rows are made from, and the key of these rows."""

    @property
    def key(self) -> str: ...


Keyed = TypeVar("Keyed", bound=HasKey)


@dataclass(frozen=True, kw_only=True)
class LastingRows:
    """The rows of a stage that are found again in its later artefacts.

    - `key`: the column of their keys. It is null in a row that has to be made again.
    - `shard`: where an artefact keeps the rows that it takes over, such as `part-asked-before`; the names of its other
      shards of such rows have the same first word.
    - `schema`: the columns of a shard, `key` included. Shards of older versions that lack one are not read.
    - `unless`: a column; a row with a text or true in it has to be made again.
    - `accepts`: tells which artefacts count, if the key alone does not.
    - `late`: columns that shards of older versions may lack; they are null in rows that are taken over from these.
    - `needed`: a late column; a row without a value in it has to be made again.
    """

    stage: Stage
    key: str
    shard: str
    schema: pa.Schema
    unless: str | None = None
    accepts: Callable[[Record], bool] | None = None
    late: tuple[str, ...] = ()
    needed: str | None = None

    @property
    def kind(self) -> str:
        """What the log calls them, if the stage has rows of several kinds."""
        return "" if self.first_word == "part-" else f" ({self.first_word[:-1]})"

    @property
    def first_word(self) -> str:
        return self.shard.partition("-")[0] + "-"


def is_of_these_libraries(record: Record) -> bool:
    """Tell whether an artefact was made with the versions of libraries that are in use."""
    return record.get("libraries", list_libraries()) == list_libraries()


def find_rows(store: Store, lasting: LastingRows, keys: Collection[str]) -> Iterator[pa.Table]:
    """Yield the rows with these keys from undamaged files of the stage's artefacts: each key once, its newest row."""
    waiting: list[pa.Table] = []
    for path, places in _find_places(store, lasting, keys, verify=True):
        for table in _read_places(path, places, lasting.schema):
            waiting.append(table)
            if sum(map(len, waiting)) >= ROWS_AT_ONCE:
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def count_missing(context: Context, lasting: LastingRows, keys: Sequence[str]) -> tuple[int, int]:
    """Return the number of rows with these keys, and of those that no earlier artefact has; hashes no file."""
    found: set[str] = set()
    for path, places in _find_places(Store.of(context), lasting, keys, verify=False):
        found.update(pq.read_table(path, columns=[lasting.key])[lasting.key].take(places).to_pylist())
    return len(keys), sum(key not in found for key in keys)


def leave_missing(
    context: Context,
    artefact: Partial,
    lasting: LastingRows,
    units: Sequence[Keyed],
    renew: Callable[[dict[str, Any], Keyed], dict[str, Any]] = lambda row, unit: row,
) -> list[Keyed]:
    """Write the rows that earlier artefacts have as a shard, say how many, and return the units that are left to make.

    `renew` returns a row with what this artefact says of the unit and the key does not, such as its id.
    """
    by_key: dict[str, list[Keyed]] = {}
    for unit in units:
        by_key.setdefault(unit.key, []).append(unit)

    def find() -> Iterator[pa.Table]:
        for table in find_rows(Store.of(context), lasting, by_key):
            rows = [renew(row, unit) for row in table.to_pylist() for unit in by_key[row[lasting.key]]]
            yield pa.Table.from_pylist(rows, schema=lasting.schema)

    known = take_over(artefact, lasting, find, total=len(units))
    return [unit for unit in units if unit.key not in known]


def take_over(
    artefact: Partial, lasting: LastingRows, find: Callable[[], Iterable[pa.Table]], *, total: int
) -> set[str]:
    """Write the earlier rows that `find` yields as a shard, measure and say their number, and return their keys.

    An artefact that is continued keeps the rows that it took over, or goes on without any: its other shards were shared
    out accordingly. Without rows there is no shard, unless `total`, the number of rows to make or find, is 0.
    """
    path, measured = artefact.folder / f"{lasting.shard}.parquet", lasting.shard.removeprefix("part-").replace("-", "_")
    if not path.exists() and not _has_begun(artefact, lasting):
        tables, num_rows = iter(find()), 0
        first = next(tables, None)
        if first is not None or not total:
            with artefact.open_shard(lasting.shard, lasting.schema) as writer:
                for table in () if first is None else chain([first], tables):
                    writer.write_table(table)
                    num_rows += len(table)
        artefact.measure(measured, num_rows)
    num_rows = artefact.read_measured().get(measured, 0)
    if num_rows:
        get_stage_logger().info("%d of %d rows%s are reused from earlier results", num_rows, total, lasting.kind)
    return set(pq.read_table(path, columns=[lasting.key])[lasting.key].to_pylist()) if path.exists() else set()


def _has_begun(artefact: Partial, lasting: LastingRows) -> bool:
    """Tell whether some of the other rows are made."""
    return any(name.startswith(lasting.first_word) for name in (*artefact.list_finished(), *artefact.list_begun()))


def _find_places(
    store: Store, lasting: LastingRows, keys: Collection[str], *, verify: bool
) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield each file that has the newest row of a wanted key, and the places of these rows; newest artefacts first."""
    wanted = pa.array(list(keys), pa.string())
    left_W = np.ones(len(wanted), bool)
    for record in reversed(store.list_records(lasting.stage.name)) if len(wanted) else ():
        if record["version"] != lasting.stage.version or (lasting.accepts and not lasting.accepts(record)):
            continue
        files = list(_read_keys(store, record, lasting))
        joined = pa.chunked_array([keys for _, _, keys in files], pa.string()).combine_chunks()
        which_R = pc.call_function("index_in", [joined], pc.SetLookupOptions(value_set=wanted))
        which_R = which_R.fill_null(NOWHERE).to_numpy()
        places = np.flatnonzero(which_R != NOWHERE)
        places = places[left_W[which_R[places]]]
        places = np.sort(places[np.unique(which_R[places], return_index=True)[1]])
        end = 0
        for path, shard, keys_of_shard in files:
            start, end = end, end + len(keys_of_shard)
            inside = places[np.searchsorted(places, start) : np.searchsorted(places, end)]
            if len(inside) and (not verify or hash_file(path) == shard["sha256"]):
                left_W[which_R[inside]] = False
                yield path, inside - start
        if not left_W.any():
            return


def _read_keys(store: Store, record: Record, lasting: LastingRows) -> Iterator[tuple[Path, ShardRecord, pa.Array]]:
    """Yield the files of an artefact that have all columns, with their keys; what cannot be read is left out."""
    for shard in record["shards"]:
        if fnmatch(shard["file"], f"{lasting.first_word}*.parquet") and (path := store.find_file(record, shard)):
            try:
                keys = _read_keys_of_file(path, lasting)
            except (OSError, pa.ArrowInvalid):  # it is damaged, and would be left out for that later
                continue
            if keys is not None:
                yield path, shard, keys


def _read_keys_of_file(path: Path, lasting: LastingRows) -> pa.Array | None:
    """Return the keys of a file's rows, null where a row has to be made again; None if the file lacks a column."""
    with pq.ParquetFile(path) as file:
        found = file.schema_arrow
        lacking = {each.name for each in lasting.schema if each.name not in found.names}
        if lacking - set(lasting.late) or lasting.needed in lacking:
            return None
        if any(found.field(each.name).type != each.type for each in lasting.schema if each.name not in lacking):
            return None
        names = [each for each in (lasting.key, lasting.unless, lasting.needed) if each]
        table = file.read(columns=names)
    keys = table[lasting.key].combine_chunks()
    if lasting.needed is not None:
        has_value = table[lasting.needed].combine_chunks().is_valid()
        keys = pc.call_function("if_else", [has_value, keys, pa.scalar(None, pa.string())])
    if lasting.unless is None:
        return keys
    found = table[lasting.unless].combine_chunks()
    again = found.fill_null(False) if pa.types.is_boolean(found.type) else found.is_valid()
    return pc.call_function("if_else", [again, pa.scalar(None, pa.string()), keys])


def _read_places(path: Path, places: np.ndarray, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows at these ascending places of a file, a row group at a time."""
    with pq.ParquetFile(path) as file:
        end = 0
        for group in range(file.num_row_groups):
            start, end = end, end + file.metadata.row_group(group).num_rows
            inside = places[np.searchsorted(places, start) : np.searchsorted(places, end)]
            if len(inside):
                table = file.read_row_group(group, columns=schema.names)
                for each in schema:
                    if each.name not in table.column_names:
                        table = table.append_column(each, pa.nulls(len(table), each.type))
                table = table.select(schema.names)
                yield table.take(pa.array(inside - start)).replace_schema_metadata(schema.metadata)
