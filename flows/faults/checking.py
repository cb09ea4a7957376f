"""What must hold after any fault, each by its name. Independent of what the fault was, and of how runs are started."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from comem_core.serving.layout import RECORD, UNFINISHED
from tasks.engine.context import Context
from tasks.engine.partial import BATCHES
from tasks.engine.store import Store
from tasks.upkeep.fsck import find_faults
from warehouse.comparison import KEYS, STAGES_OF_A_RUN, compare_stores
from warehouse.connection import find_damage, open_warehouse
from warehouse.schemas import ARTEFACT_COLUMN

OF_HISTORY = STAGES_OF_A_RUN | {"comparison"}
"""Stages whose results are about certain runs: their pages name these."""
CLOSED = "the warehouse does not open"


def find_half_done(context: Context) -> Iterator[str]:
    """Yield what must not be even at the moment after a kill: a final name without a record, a closed warehouse."""
    for folder in context.store.glob("*/*"):
        is_final = folder.is_dir() and not folder.suffix and not folder.parent.name.startswith(".")
        if is_final and not (folder / RECORD).exists():
            yield f"{_name(folder)} has its final name without a record"
    if damage := find_damage(context.warehouse):
        yield f"{CLOSED}: {damage}"


def find_wrong(context: Context) -> Iterator[str]:
    """Yield what must not be when a run has ended well: a damaged or unknown file, rows that are lost or twice."""
    half_done = [*find_half_done(context)]
    yield from half_done
    yield from (str(fault) for fault in find_faults(context))
    if not any(each.startswith(CLOSED) for each in half_done):
        yield from find_twins(context)
    with open_warehouse(context.warehouse, read_only=True) as con:
        for (run_id,) in con.execute("SELECT run_id FROM run WHERE status = 'running'").fetchall():
            yield f"run {run_id} was killed, and the warehouse has it as one that goes on"
    for left in context.store.rglob("*"):
        if left.suffix in (UNFINISHED, ".tmp"):
            yield f"{left.relative_to(context.store)} was left"


def find_twins(context: Context) -> Iterator[str]:
    """Yield the tables of the warehouse in which an artefact has a row twice."""
    with open_warehouse(context.warehouse, read_only=True) as con:
        known = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        for table in KEYS.keys() & known:
            keys = ", ".join(f'"{each}"' for each in (ARTEFACT_COLUMN, *KEYS[table]))
            found = con.execute(f'SELECT {keys} FROM "{table}" GROUP BY ALL HAVING count(*) > 1 LIMIT 1').fetchall()
            yield from (f"{table} has the row {row} twice" for row in found)


def list_finished(store: Path) -> dict[str, tuple[int, int]]:
    """Map the finished shards and batches of unfinished artefacts to what tells a file from another of its name."""
    found = {}
    for folder in store.glob(f"*/*{UNFINISHED}"):
        for path in [*folder.glob("[!.]*.parquet"), *folder.glob(f"{BATCHES}/*/[0-9]*.parquet")]:
            try:
                found[str(path.relative_to(store))] = _stamp(path)
            except FileNotFoundError:
                continue  # it became part of a shard while this looked
    return found


def find_made_again(before: Mapping[str, tuple[int, int]], store: Path) -> Iterator[str]:
    """Yield the shards and batches that were finished and were made again, or are gone. A batch becomes a part of its
    shard; an artefact that is complete has another name."""
    for name, stamp in before.items():
        places = [store / name, store / name.replace(UNFINISHED, "", 1)]
        shard = [Path(str(each.parent).replace(f"{BATCHES}/", "") + ".parquet") for each in places]
        here = next((each for each in places if each.exists()), None)
        if here is not None and _stamp(here) != stamp:
            yield f"{name} was finished and made again"
        elif here is None and not any(each.exists() for each in shard):
            yield f"{name} was finished and is gone"


def compare_ends(context: Context, unbroken: Context) -> tuple[int, list[str]]:
    """Compare the artefacts of unbroken runs with those of the same names that faults were tried on: return how many
    rows these lack, have too many or have otherwise, and what differs."""
    rows, differing = 0, []
    for each in compare_stores(Store.of(context).folder, Store.of(unbroken).folder):
        if each.stage in OF_HISTORY:
            continue
        if not each.known:
            record = Store.of(unbroken).find(each.stage, each.fingerprint)
            rows += record["num_rows"] if record else 0
            differing.append(f"{each.stage} {each.fingerprint} is missing")
        elif not each.same:
            rows += sum(len(table.differences) for table in each.tables)
            said = [*each.files, *(str(table) for table in each.tables if table.differences)]
            differing.append(f"{each.stage} {each.fingerprint} differs: {'; '.join(said)}")
    return rows, differing


def _stamp(path: Path) -> tuple[int, int]:
    state = (
        path.stat()
    )  # a file system may give the number of a deleted file to the next one: the time tells them apart
    return state.st_ino, state.st_mtime_ns


def _name(folder: Path) -> str:
    return f"{folder.parent.name} {folder.name}"
