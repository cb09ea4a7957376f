"""Withdraws items from the store: what opens it does not find them any more, and runs leave them out.

`python -m tasks.upkeep.withdraw --item ID` withdraws, writes the pages that show them again, and lists what rests on
them; without an option it lists what is withdrawn. Nothing is deleted, and `--undo` takes a withdrawal back.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from comem_core.knowledge.withdrawn import (
    COLUMNS,
    Withdrawal,
    read_withdrawals,
    remove_withdrawal,
    write_withdrawal,
)
from comem_core.terminal import guard_output
from tasks.engine.context import Context
from tasks.engine.store import Store
from warehouse.commands.lineage import NAMES, describe_dependents
from warehouse.connection import open_warehouse
from warehouse.lineage import find_dependents, find_items

LEAST_LETTERS = 4


def withdraw_items(context: Context, by: str, values: Sequence[str], *, reason: str = "") -> tuple[Withdrawal, int]:
    """Withdraw the items that have one of these values, now and later; return what was written, and the number of pages
    that were written again.

    Withdrawing the same again takes in the items that have come since. Raises ValueError for a value that no item has.
    """
    found = find_withdrawal(context, by, values, reason=reason)
    before = {each.name: each for each in read_withdrawals(Store.of(context).place)}.get(found.name)
    if before is not None:
        item_ids = tuple(sorted({*before.item_ids, *found.item_ids}))
        found = replace(before, item_ids=item_ids, reason=reason or before.reason)
    write_withdrawal(Store.of(context).place, found)
    return found, _render_pages_again(context, found)


def find_withdrawal(context: Context, by: str, values: Sequence[str], *, reason: str = "") -> Withdrawal:
    """Return what would be withdrawn. Raises ValueError for a value that no item has."""
    with open_warehouse(context.warehouse, read_only=True) as con:
        item_ids = find_items(con, by, values)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    reason, wanted = " ".join(reason.split()), tuple(sorted(set(values)))
    return Withdrawal(by=by, values=wanted, item_ids=tuple(item_ids), when=when, reason=reason)


def take_back(context: Context, name: str) -> tuple[Withdrawal, int]:
    """Take a withdrawal back; return it, and the number of pages that were written again.

    Raises ValueError unless the name, or its first letters (four at least), is that of one withdrawal.
    """
    known = read_withdrawals(Store.of(context).place)
    found = [each for each in known if len(name) >= LEAST_LETTERS and each.name.startswith(name)]
    if len(found) != 1:
        names = ", ".join(each.name for each in known) or "nothing"
        raise ValueError(
            f"{name!r} is not the name of one withdrawal (its first {LEAST_LETTERS} letters do); there are: {names}"
        )
    remove_withdrawal(Store.of(context).place, found[0])
    return found[0], _render_pages_again(context, found[0])


def _render_pages_again(context: Context, withdrawal: Withdrawal) -> int:
    from tasks.evaluation.report import render_again  # imports Prefect, which takes seconds

    try:
        return render_again(context, withdrawal)
    except (TimeoutError, OSError, ValueError) as error:
        raise TimeoutError(f"all but the pages of runs is done ({error}); run the same command again") from error


def describe(withdrawal: Withdrawal) -> str:
    """Describe a withdrawal in a line."""
    values = ", ".join(map(repr, withdrawal.values[:3])) + (", ..." if len(withdrawal.values) > 3 else "")
    reason = f" ({withdrawal.reason})" if withdrawal.reason else ""
    items = f"{len(withdrawal.item_ids):,} item{'' if len(withdrawal.item_ids) == 1 else 's'}"
    return f"{withdrawal.name}  {withdrawal.when}  {items} by {withdrawal.by} {values}{reason}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Withdraw items, take a withdrawal back, or list what is withdrawn; return 0, or 2 for a wrong request."""
    parser = _make_parser()
    given = parser.parse_args(arguments)
    by = next((each for each in COLUMNS if getattr(given, each)), None)
    if by is None and (given.dry_run or given.reason):
        parser.error(f"--dry-run and --reason go with one of {', '.join(f'--{each}' for each in COLUMNS)}")
    try:
        context = Context.from_environment()
        if given.undo is not None:
            lines = _undo(context, given.undo)
        elif by is None:
            lines = _list(context)
        else:
            do = _try if given.dry_run else _withdraw
            lines = do(context, by, getattr(given, by), reason=given.reason)
    except (ValueError, OSError) as error:
        print(f"withdraw: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def _try(context: Context, by: str, values: Sequence[str], *, reason: str) -> list[str]:
    found = find_withdrawal(context, by, values, reason=reason)
    return [f"Would be withdrawn: {describe(found)}", *_list_dependents(context, by, values)]


def _withdraw(context: Context, by: str, values: Sequence[str], *, reason: str) -> list[str]:
    found, num_pages = withdraw_items(context, by, values, reason=reason)
    return [
        f"Withdrawn: {describe(found)}",
        f"Programs that open {Store.of(context).place} do not find them any more, runs leave them out, and "
        f"{_count_pages(num_pages)} written again without them.",
        *_list_dependents(context, by, values),
        "rebuild-memory makes bank and index without them, synth-and-train an encoder without them. What is listed "
        "above still holds them until `make gc` removes it.",
        f'Taken back by: make withdraw ARGS="--undo {found.name}"',
    ]


def _list_dependents(context: Context, by: str, values: Sequence[str]) -> list[str]:
    with open_warehouse(context.warehouse, read_only=True) as con:
        return describe_dependents(find_dependents(con, by, values))


def _undo(context: Context, name: str) -> list[str]:
    found, num_pages = take_back(context, name)
    return [
        f"Taken back: {describe(found)}",
        f"{_count_pages(num_pages)} written again. Bank and index have them after the next rebuild-memory, unless "
        "another withdrawal is about them.",
    ]


def _list(context: Context) -> list[str]:
    known = read_withdrawals(Store.of(context).place)
    return [describe(each) for each in known] or [f"Nothing is withdrawn from {Store.of(context).place}."]


def _count_pages(number: int) -> str:
    return "1 page was" if number == 1 else f"{number} pages were"


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks.upkeep.withdraw", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    for by in COLUMNS:
        chosen.add_argument(f"--{by}", nargs="+", metavar=by.upper(), help=f"withdraw the items with this {NAMES[by]}")
    chosen.add_argument("--undo", metavar="NAME", help="take a withdrawal back; the list has its name")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why, for people who read the list")
    parser.add_argument("--dry-run", action="store_true", help="say what would be withdrawn and what rests on it")
    return parser


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
