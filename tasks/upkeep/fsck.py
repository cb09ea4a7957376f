"""Checks the store and the warehouse, and each against the other.

`python -m tasks.upkeep.fsck` names what is wrong and what to do; only `--repair` changes anything, and only in the
warehouse: the store is what it is made from.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from comem_core.addresses.copies import STAMPS
from comem_core.addresses.places import is_address
from comem_core.knowledge.withdrawn import read_withdrawals
from comem_core.serving.layout import RECORD, Record, list_record_files
from comem_core.terminal import guard_output
from tasks.engine.context import Context
from tasks.engine.rebuild import load_artefact, mend_warehouse
from tasks.engine.store import Store
from warehouse.connection import find_damage, open_warehouse
from warehouse.records import forget_artefact, group_shards
from warehouse.verification import count_rows, list_known

AGAIN = "the next run that needs it makes it again, from what is undamaged"
ENDS = "it can be used as it is; its lineage ends there"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong with an artefact or a file: what was found, and what mends it.

    `repair` mends it in the warehouse, and tells whether it did; None where only a run or a person can.
    """

    name: str
    found: str
    todo: str
    repair: Callable[[], bool] | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.found}; {self.todo}"


def find_faults(context: Context, *, hashed: bool = True) -> Iterator[Fault]:
    """Yield what is wrong with the context's store and warehouse. Without `hashed`, files are only looked for.

    Nobody should write meanwhile: what a run has put into one and not yet into the other would be named too.
    """
    store = Store.of(context)
    if damage := find_damage(context.warehouse):
        todo = "--repair sets it aside, and makes it again of all that is in the store"
        yield Fault(name=str(context.warehouse), found=f"it cannot be read ({damage})", todo=todo)
        return
    yield from _find_unreadable(store)
    try:
        read_withdrawals(store.place)
    except ValueError as error:
        yield Fault(name="a withdrawal", found=str(error), todo="until then nothing opens this store")
    records = {record["fingerprint"]: record for record in store.all_records()}
    with open_warehouse(context.warehouse, read_only=True) as con:
        rows, known = count_rows(con), list_known(con)
    for record in tqdm(records.values(), unit="result", disable=None, file=sys.__stderr__):
        yield from _find_damage(store, record, hashed=hashed)
        yield from _find_lost_inputs(record, records, known)
        yield from _find_row_faults(context, record, rows.get(record["fingerprint"], {}), known)
    for fingerprint in sorted((rows.keys() | known.keys()) - records.keys()):
        yield from _find_rows_alone(context, store, fingerprint, rows.get(fingerprint, {}), known)


def _find_unreadable(store: Store) -> Iterator[Fault]:
    """Yield records that are not JSON; at an address they count as missing."""
    for path in () if is_address(store.place) else list_record_files(store.folder):
        stage, fingerprint = path.parts[-3:-1]
        if store.find(stage, fingerprint) is None:
            yield Fault(name=f"{stage} {fingerprint}", found=f"its {RECORD} cannot be read", todo=AGAIN)


def _find_damage(store: Store, record: Record, *, hashed: bool) -> Iterator[Fault]:
    name = _name(record)
    if hashed:
        for file, fault in store.damage(record).items():
            yield Fault(name=name, found=f"{file} {fault}", todo=AGAIN)
    elif not store.has_all(record):
        yield Fault(name=name, found="files of it are missing", todo=AGAIN)
    if not is_address(store.place):
        listed = {RECORD, STAMPS, *(shard["file"] for shard in record["shards"])}
        folder = Path(record["uri"])
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            if (file := path.relative_to(folder).as_posix()) not in listed:
                yield Fault(
                    name=name, found=f"{file} is not listed in its record", todo="nothing reads it, and it may go"
                )


def _find_lost_inputs(
    record: Record, records: Mapping[str, Record], known: Mapping[str, tuple[str, str | None]]
) -> Iterator[Fault]:
    """Yield inputs that were results here once; others, such as a backbone, come from outside."""
    for role, fingerprint in record["inputs"].items():
        if fingerprint not in records and fingerprint in known:
            found = f"its {role} ({known[fingerprint][0]} {fingerprint}) is not in the store any more"
            yield Fault(name=_name(record), found=found, todo=ENDS)


def _find_row_faults(
    context: Context, record: Record, rows: Mapping[str, int], known: Mapping[str, tuple[str, str | None]]
) -> Iterator[Fault]:
    """Yield how the warehouse's rows of a result differ from its files."""
    if "table" not in record:
        return  # an earlier version did not record it
    fingerprint, shards = record["fingerprint"], group_shards(record, record["table"])
    wanted = {table: sum(shard["rows"] for shard in listed) for table, listed in shards.items()}

    def reload() -> bool:
        if Store.of(context).damage(record):
            return False  # the rows that are left are kept, until a run has made the files again
        with open_warehouse(context.warehouse) as con:
            forget_artefact(con, fingerprint)
        return load_artefact(context, record)

    if fingerprint not in known or known[fingerprint][1] is None:
        todo = "--repair loads its rows, as the next run that uses it does"
        yield Fault(name=_name(record), found="the warehouse does not have it", todo=todo, repair=reload)
    elif differing := {table for table in wanted if wanted[table] != rows.get(table, 0)}:
        counts = ", ".join(f"{rows.get(each, 0):,} of {wanted[each]:,} rows of {each}" for each in sorted(differing))
        yield Fault(
            name=_name(record), found=f"the warehouse has {counts}", todo="--repair loads them again", repair=reload
        )


def _find_rows_alone(
    context: Context,
    store: Store,
    fingerprint: str,
    rows: Mapping[str, int],
    known: Mapping[str, tuple[str, str | None]],
) -> Iterator[Fault]:
    """Yield what the warehouse has of a result that the store lacks; results of other stores are left alone."""
    stage, place = known.get(fingerprint, ("", None))
    if place is not None and place != store.name_artefact(stage, fingerprint):
        return
    if place is None and not rows:
        return  # only a run names it: removed on purpose, as `make gc` does

    def forget() -> bool:
        if store.find_anywhere(fingerprint):
            return False  # a run has made it since
        with open_warehouse(context.warehouse) as con:
            forget_artefact(con, fingerprint)
        return True

    found = f"the warehouse has it (rows: {sum(rows.values()):,}), and the store does not"
    todo = "--repair removes them; a run of the same recipe makes it again"
    yield Fault(name=f"{stage or 'a result'} {fingerprint}", found=found, todo=todo, repair=forget)


def _name(record: Record) -> str:
    return f"{record['stage']} {record['fingerprint']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what is wrong, or mend it; return 0 if nothing is left, 1 if something is, or 2 for a wrong request."""
    given = _make_parser().parse_args(arguments)
    try:
        context = Context.from_environment()
        if given.repair and (mended := mend_warehouse(context)):
            print(mended)
        faults = list(find_faults(context, hashed=not given.quick))
    except (ValueError, TimeoutError) as error:
        print(f"fsck: {error}", file=sys.stderr)
        return 2
    mended = [given.repair and fault.repair is not None and fault.repair() for fault in faults]
    for fault, done in zip(faults, mended, strict=True):
        print(f"{'mended: ' if done else ''}{fault}")
    left = mended.count(False)
    place = Store.of(context).place
    if not faults:
        print(f"{place} and {context.warehouse} are as their records say.")
    else:
        print(f"{len(faults):,} found in {place} and {context.warehouse}, {left:,} left.")
    return 1 if left else 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks.upkeep.fsck", description=__doc__)
    parser.add_argument("--repair", action="store_true", help="mend the warehouse by what is in the store")
    parser.add_argument("--quick", action="store_true", help="look whether files are there, without hashing them")
    return parser


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
