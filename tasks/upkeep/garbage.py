"""Removes from the store what nothing rests on that is kept (garbage collection).

`python -m tasks.upkeep.garbage` says what may go, and how much room that gives; only `--delete` removes it.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tqdm.auto import tqdm

from comem_core.addresses.places import is_address
from comem_core.serving.choosing import choose
from comem_core.serving.layout import ENCODER_STAGE
from comem_core.serving.stored_artefacts import StoredArtefacts
from comem_core.terminal import guard_output
from tasks.engine.context import Context
from tasks.engine.store import ArtefactBusy, Store
from warehouse.connection import open_warehouse
from warehouse.declared import list_declared_stages
from warehouse.lineage import Unneeded, list_unneeded, refuse_unknown_ids
from warehouse.records import forget_artefact

KEEP_RUNS, KEEP_DAYS = 3, 14.0
MB, GB = 1e6, 1e9
NUMBERS = {int: "a whole number", float: "a number"}


@dataclass
class Room:
    """The bytes on a disk that removing folders gives back: a file with two names goes with its last one."""

    num_bytes: int = 0
    names: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, artefact: Unneeded) -> None:
        """Count an artefact as removed; at an address, and of an unfinished artefact, no file has two names."""
        if is_address(artefact.uri) or not artefact.is_finished:
            self.num_bytes += artefact.num_bytes
            return
        for path in Path(artefact.uri).rglob("*"):
            if path.is_file():
                found = path.stat()
                file = (found.st_dev, found.st_ino)
                self.names[file] += 1
                self.num_bytes += found.st_size * (self.names[file] == found.st_nlink)


def find_garbage(
    context: Context,
    *,
    keep_runs: int = KEEP_RUNS,
    keep_days: float = KEEP_DAYS,
    keep: Sequence[str] = (),
    budget_gb: float | None = None,
) -> list[Unneeded]:
    """Return what may be removed from the context's store, nothing before what was made from it.

    The latest encoder, and what `comem.open` opens, are always kept; see `warehouse.lineage.list_unneeded` for the
    rest. With `budget_gb`, only as much as makes the store fit. An id in `keep` that names nothing is a ValueError.
    """
    now, store = datetime.now(UTC), Store.of(context)
    with open_warehouse(context.warehouse, read_only=True) as con:
        stages = list_declared_stages(con)
        refuse_unknown_ids(con, keep)
        found = list_unneeded(
            con,
            now=now,
            keep_runs=keep_runs,
            keep_for=timedelta(days=keep_days),
            keep=[*keep, *list_in_use(context)],
        )
    found = [
        *list_abandoned(store, stages, before=now - timedelta(days=keep_days)),
        *(here for each in found if (here := _find_here(store, each)) is not None),
    ]
    return found if budget_gb is None else _take_until(found, excess=_measure_size(store) - budget_gb * GB)


def _find_here(store: Store, artefact: Unneeded) -> Unneeded | None:
    """Return an artefact with its place in this store; None if it is in another one that the warehouse knows.

    One that was half removed has no record any more, but its place tells. A store that was moved has other places.
    """
    place = store.name_artefact(artefact.stage, artefact.fingerprint)
    is_here = artefact.uri == place or store.find(artefact.stage, artefact.fingerprint) is not None
    return replace(artefact, uri=place) if is_here else None


def _measure_size(store: Store) -> float:
    """Return the bytes of all complete artefacts; a file that several share is counted for each."""
    return sum(record["num_bytes"] for record in store.all_records())


def _take_until(garbage: Sequence[Unneeded], *, excess: float) -> list[Unneeded]:
    """Return as many from the beginning as give back at least `excess` bytes."""
    room, taken = Room(), []
    for each in garbage:
        if room.num_bytes >= excess:
            break
        room.add(each)
        taken.append(each)
    return taken


def list_in_use(context: Context) -> list[str]:
    """Return the fingerprints of the latest encoder, and of what a program opens that names nothing."""
    store = StoredArtefacts(Store.of(context).place)
    latest = [each["fingerprint"] for each in store.list_records(ENCODER_STAGE)[-1:]]
    try:
        opened = choose(store)
    except ValueError:  # there is nothing that could be opened
        return latest
    records = [*opened.list_records().values(), *filter(None, [opened.training_set])]
    return [*latest, *(record["fingerprint"] for record in records)]


def list_abandoned(store: Store, stages: Sequence[str], *, before: datetime) -> list[Unneeded]:
    """Return unfinished artefacts of stages that did not grow since `before`, those that are so for longest first."""
    found = []
    for stage, fingerprint in [(each, name) for each in stages for name in store.list_unfinished(each)]:
        measured = store.measure_unfinished(stage, fingerprint)
        if measured is not None and measured[1] < before and store.find(stage, fingerprint) is None:
            place = store.name_artefact(stage, fingerprint)
            found.append(Unneeded(fingerprint, stage, place, *measured, is_finished=False))
    return sorted(found, key=lambda each: each.last_used)


def remove_garbage(context: Context, garbage: Iterable[Unneeded]) -> Iterator[tuple[Unneeded, bool]]:
    """Remove artefacts from store and warehouse, one at a time; yield each, and whether it could be removed.

    One that a process works on stays, and so does what was used since it was listed. Killed, this can be started again.
    """
    store = Store.of(replace(context, lock_wait_seconds=0))
    for artefact in garbage:
        try:
            with store.lock(artefact.stage, artefact.fingerprint):
                is_gone = _remove(context, store, artefact)
        except ArtefactBusy:
            is_gone = False
        yield artefact, is_gone


def _remove(context: Context, store: Store, artefact: Unneeded) -> bool:
    """Remove an artefact, unless it was finished since it was listed as unfinished; tell whether it is gone."""
    if not artefact.is_finished and store.find(artefact.stage, artefact.fingerprint):
        return False
    store.remove(artefact.stage, artefact.fingerprint)
    with open_warehouse(context.warehouse) as con:
        forget_artefact(con, artefact.fingerprint)
    return True


def describe(garbage: Sequence[Unneeded]) -> Table:
    """Return a table by stage: artefacts, megabytes, and between which days they were last used."""
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "artefacts", "MB", "last used"):
        table.add_column(name, justify="right" if name in ("artefacts", "MB") else "left")
    by_stage: dict[str, list[Unneeded]] = {}
    for each in garbage:
        by_stage.setdefault(f"{each.stage}{'' if each.is_finished else ', unfinished'}", []).append(each)
    for stage, artefacts in sorted(by_stage.items()):
        days = sorted({f"{each.last_used:%Y-%m-%d}" for each in artefacts})
        size = sum(each.num_bytes for each in artefacts) / MB
        table.add_row(stage, f"{len(artefacts):,}", f"{size:,.1f}", " to ".join(dict.fromkeys((days[0], days[-1]))))
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what may go, or remove it; return 0, 1 if something could not be removed, or 2 for a wrong request."""
    given = _make_parser().parse_args(arguments)
    try:
        context = Context.from_environment()
        garbage = find_garbage(
            context, keep_runs=given.keep_runs, keep_days=given.keep_days, keep=given.keep, budget_gb=given.budget_gb
        )
    except (ValueError, TimeoutError) as error:
        print(f"gc: {error}", file=sys.stderr)
        return 2
    place, room = Store.of(context).place, Room()
    if not garbage:
        print(f"Nothing may go from {place} by these rules.")
        return 0
    for each in garbage:
        room.add(each)
    Console(color_system=None).print(describe(garbage))  # colours would be escaped
    told = f"{len(garbage):,} artefacts of {place} on which nothing rests that is kept, {room.num_bytes / MB:,.1f} MB"
    if not given.delete:
        print(f"{told}.\nNothing was removed; --delete removes them.")
        return 0
    shown = tqdm(remove_garbage(context, garbage), total=len(garbage), unit="artefact", file=sys.__stderr__)
    removed = [done for _, done in shown]
    print(f"Removed {sum(removed):,} of {told}.")
    if not all(removed):
        print(f"{removed.count(False):,} stay for now, because a run works on them.")
    return 0 if all(removed) else 1


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks.upkeep.garbage", description=__doc__)
    parser.add_argument("--delete", action="store_true", help="remove what may go, instead of saying what it is")
    parser.add_argument(
        "--keep-runs",
        type=_read_number(int),
        default=KEEP_RUNS,
        metavar="N",
        help="keep the last N completed runs of each flow, recipe and corpus (default %(default)s)",
    )
    parser.add_argument(
        "--keep-days",
        type=_read_number(float),
        default=KEEP_DAYS,
        metavar="DAYS",
        help="keep what a run used in the last DAYS days (default %(default)g)",
    )
    parser.add_argument(
        "--keep", action="append", default=[], metavar="ID", help="keep this run or artefact too; may be given again"
    )
    parser.add_argument(
        "--budget-gb",
        type=_read_number(float),
        metavar="GB",
        help="remove only until the store has at most GB gigabytes, what is unused for longest first",
    )
    return parser


def _read_number(kind: type[int] | type[float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = -1
        if not 0 <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r}; expected {NUMBERS[kind]} of at least 0")
        return value

    return read


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
