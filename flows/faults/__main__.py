"""`make faults`: kills and other faults, again and again, in one `.comem` that lives on, beside unbroken runs.

Writes `docs/results/reliability.json`. What was tried is in the folder's journal: the same command goes on there.
"""

import argparse
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from comem_core.measures.provenance import describe_machine
from comem_core.measures.results import Measured
from comem_core.measures.tables import record_rows
from comem_core.terminal import guard_output
from flows.faults.checking import compare_ends
from flows.faults.journal import KILLS, UNBROKEN, Journal, Round, describe_round
from flows.faults.killing import DEPLOYED_EVERY, FEWEST_KILLS, MOST_KILLS, TARGETS, Killing
from flows.faults.page import OF_FAULT, TOPIC, write_table
from flows.faults.single import FAULTS, try_fault
from flows.faults.stand import Stand
from flows.local.commands import interrupt_on

COMMAND, RECIPE = "make faults", "tiny_cpu"
NUM_KILLS = 200
FOLDER = Path(".comem/faults")


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every fault, print what was found, and write `docs/results/reliability.json`; 1 if something is wrong."""
    given = _make_parser().parse_args(arguments)
    stand = Stand(given.folder.absolute())
    stand.prepare()
    lock = filelock.FileLock(stand.folder / "faults.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"error: another {COMMAND} works in {stand.folder}; wait, or give another --folder", file=sys.stderr)
        return 2
    try:
        return _try_in(stand, given)
    finally:
        lock.release()


def _try_in(stand: Stand, given: argparse.Namespace) -> int:
    stand.unbroken.prepare()
    journal = Journal(stand.folder)
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    try:
        with stand.unbroken.keep_clean(), stand.keep_clean():
            _measure_unbroken(stand, journal)
            for ended in _try_all(stand, journal, given):
                journal.add(ended)
                print(describe_round(ended), flush=True)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    rows = list(make_rows(journal))
    for row in rows:
        print(f"{row.measure:>28}  {row.value:g} {row.unit}, n {row.n}", flush=True)
    if given.record:
        record_rows(TOPIC, rows)
        print(f"written: {write_table()}", flush=True)
    return int(any(each.wrong for each in journal.rounds))


def _try_all(stand: Stand, journal: Journal, given: argparse.Namespace) -> Iterator[Round]:
    """Yield each round as it ends: first of kills, then the runs of these without a fault, then of each other fault."""
    if given.only in (None, KILLS, *TARGETS):
        yield from _kill_often(stand, journal, given)
    for fault in FAULTS:
        if given.only == fault or (given.only is None and not journal.list_of(fault)):
            ended = try_fault(stand, fault, journal.next_number)
            yield _compare(stand, journal, ended)


def _kill_often(stand: Stand, journal: Journal, given: argparse.Namespace) -> Iterator[Round]:
    duration, began = journal.find_duration(), time.monotonic()
    assert duration is not None
    while (num_killed := journal.count_kills().total()) < given.kills:
        number = journal.next_number
        chance = random.Random(f"{given.seed} {number}")
        only = given.only if given.only in TARGETS else None
        killing = Killing(
            stand=stand,
            number=number,
            chance=chance,
            duration=duration,
            planned=min(chance.randint(FEWEST_KILLS, MOST_KILLS), given.kills - num_killed),
            is_deployed=only in TARGETS[-2:] or (only is None and number % DEPLOYED_EVERY == DEPLOYED_EVERY - 1),
            only=only,
        )
        yield killing.run()
        done = journal.count_kills().total()
        print(f"{done} of {given.kills} kills, {time.monotonic() - began:.0f} s", flush=True)
    if {number for each in journal.list_of(KILLS) for number in each.numbers} - journal.list_unbroken():
        yield _compare(stand, journal, Round(fault=KILLS, numbers=[], starts=0))


def _compare(stand: Stand, journal: Journal, ended: Round) -> Round:
    """Make the runs that faults were tried on without one, and note what differs."""
    tried = {number for each in (*journal.rounds, ended) for number in each.numbers}
    numbers, began = sorted(tried - journal.list_unbroken()), time.monotonic()
    if numbers:
        stand.unbroken.run_unbroken(numbers, api_url=stand.read_note().api_url)
        journal.add(Round(fault=UNBROKEN, numbers=numbers, seconds=time.monotonic() - began))
    ended.rows_lost, differing = compare_ends(stand.context, stand.unbroken.context)
    ended.wrong += differing
    return ended


def _measure_unbroken(stand: Stand, journal: Journal) -> None:
    """Make the first run without a fault: kills are spread over as long as it takes."""
    if journal.find_duration() is None:
        api_url, began = stand.read_note().api_url, time.monotonic()
        stand.unbroken.run_unbroken([0], api_url=api_url)
        journal.add(ended := Round(fault=UNBROKEN, numbers=[0], seconds=time.monotonic() - began))
        print(describe_round(ended), flush=True)


def make_rows(journal: Journal) -> Iterator[Measured]:
    """Yield the measures: kills by target, rows lost, and what was found wrong after each fault."""
    rounds, kills = journal.list_of(KILLS), journal.count_kills()
    tried = [each for each in journal.rounds if each.fault != UNBROKEN]
    if kills.total():
        runs = sum(len(each.numbers) for each in rounds)
        yield _make_row("random_kills", kills.total(), "kills", runs)
        yield _make_row("starts_after_kills", sum(each.starts for each in rounds), "starts", runs)
        yield _make_row("wrong_after_kills", sum(len(each.wrong) for each in rounds), "found wrong", kills.total())
        hit = {stage for each in rounds for _, _, doing in each.killed for stage in doing}
        yield _make_row("stages_killed_in", len(hit), "stages", kills.total())
        for target in TARGETS:
            yield _make_row(f"kills_{target}", kills[target], "kills", runs)
    yield _make_row("rows_lost", sum(each.rows_lost for each in tried), "rows", len(tried))
    for fault in FAULTS:
        if found := journal.list_of(fault):
            yield _make_row(f"{OF_FAULT}{fault}", sum(len(each.wrong) for each in found), "found wrong", len(found))


def _make_row(measure: str, value: float, unit: str, num: int) -> Measured:
    return Measured(
        measure=measure, recipe=RECIPE, value=value, unit=unit, n=num, command=COMMAND, machine=describe_machine()
    )


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make faults ARGS=...", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=NUM_KILLS, help="at random moments, in all; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of what chance chooses; default: %(default)s")
    parser.add_argument("--only", choices=(KILLS, *TARGETS, *FAULTS), help="one kind of fault, or kills of one target")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where it happens, and goes on; default: %(default)s"
    )
    parser.add_argument("--record", action="store_true", help="write docs/results/reliability.json")
    return parser


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
