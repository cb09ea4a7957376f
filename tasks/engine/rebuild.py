"""Rebuilds a warehouse from the store: the rows of all artefacts, and the history of all runs.

A run does so where its warehouse cannot be read. `python -m tasks.engine.rebuild NEW.duckdb` does it for any machine.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import filelock

from comem_core.addresses.copies import is_table, open_folder
from comem_core.addresses.places import is_address
from comem_core.serving.layout import Record
from comem_core.terminal import guard_output
from tasks.engine.context import Context
from tasks.engine.store import Store
from tasks.engine.telling import get_stage_logger
from warehouse.connection import open_warehouse, set_aside_unreadable
from warehouse.history import restore_runs
from warehouse.records import register_artefact

RUNS = ".runs"


def find_history(context: Context) -> Path:
    """Return the folder in the store that holds a file for each run."""
    return context.store / RUNS


def put_history(context: Context) -> None:
    """Put the history of runs to the address of the store, if it has one and answers: it is not worth an error."""
    try:
        Store.of(context).put_files(RUNS)
    except (OSError, ValueError) as error:
        get_stage_logger().warning("the history of this run was not put to the store: %s", error)


def mend_warehouse(context: Context) -> str | None:
    """Set aside a warehouse that cannot be read, rebuild it from the store, and say so; None if it can be read.

    One that is lost is rebuilt too, but not from an address, where each machine has what its own runs touched. A
    damaged artefact is left to the runs that use it, which make it again.
    """
    if (found := set_aside_unreadable(context.warehouse)) is None:
        return _rebuild_lost(context)
    aside, damage = found
    return (
        f"the warehouse {context.warehouse} could not be read ({damage}). It was renamed to {aside.name}, and rebuilt "
        f"from the store: {_rebuild(context)}. Remove the renamed file when you no longer need it"
    )


def _rebuild_lost(context: Context) -> str | None:
    """Make a warehouse that is not there of what is in the store's folder; None if there is nothing to do."""
    store = Store.of(context)
    if context.warehouse.exists() or is_address(store.place) or next(store.all_records(), None) is None:
        return None
    return f"there was no warehouse at {context.warehouse}. It was rebuilt from the store: {_rebuild(context)}"


def _rebuild(context: Context) -> str:
    """Make the warehouse anew under another name, so that it is whole or not there, and say what it has."""
    unfinished = context.warehouse.with_suffix(f".unfinished{context.warehouse.suffix}")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{context.warehouse}.rebuild.lock"):
        if context.warehouse.exists():
            return "by another run"
        for left in (unfinished, Path(f"{unfinished}.wal")):
            left.unlink(missing_ok=True)  # of a run that was ended while it did this
        said = load_store(replace(context, warehouse=unfinished))
        os.rename(unfinished, context.warehouse)
    return said


def load_store(context: Context) -> str:
    """Load the rows of all artefacts of the store, and the history of its runs, into the warehouse; say how many."""
    store = Store.of(context)
    store.fetch_files(RUNS)
    records = sorted(store.all_records(), key=lambda record: record["created"])
    left = [record for record in records if not load_artefact(context, record)]
    with open_warehouse(context.warehouse) as con:
        num_runs = restore_runs(con, find_history(context))
    later = f"; {len(left)} more come back when a run uses them" if left else ""
    return f"{len(records) - len(left)} results and the history of {num_runs} runs{later}"


def load_artefact(context: Context, record: Record) -> bool:
    """Load an artefact's rows again; False if it is damaged, or from a version of comem that recorded no table."""
    if "table" not in record:
        return False
    try:
        with open_warehouse(context.warehouse) as con:
            folder = open_folder(record["uri"], is_table)
            register_artefact(con, record, table=record["table"], folder=folder, uri=record["uri"])
    except ValueError:
        return False
    return True


def main(database: Path) -> None:
    """Make a warehouse of all that is in the store, such as a bucket that several machines work with."""
    context = replace(Context.from_environment(), warehouse=database.absolute())
    if database.exists():
        raise SystemExit(f"{database} is there already; name a new file")
    print(f"{database} has what is in {Store.of(context).place}: {load_store(context)}")


if __name__ == "__main__":
    guard_output()
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tasks.engine.rebuild NEW.duckdb")
    main(Path(sys.argv[1]))
