"""The commands that follow what was made from what: lineage, rests-on, verify."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.lineage import (
    COLUMNS,
    GONE,
    Dependent,
    Edge,
    Link,
    find_dependents,
    find_kind,
    trace_downward,
    trace_draft,
    trace_item,
    trace_prediction,
    trace_upward,
)
from warehouse.sql import read_report_rows
from warehouse.verification import verify_artefacts

NAMES = {"item": "id", "image": "id of a picture", "licence": "licence", "source": "source"}
_TRACES = {"prediction": trace_prediction, "item": trace_item, "draft": trace_draft}


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the commands to those of the warehouse; `shared` has the options of all."""
    lineage = commands.add_parser(
        "lineage", parents=[shared], help="show what an artefact or a row was made from, and what used it"
    )
    lineage.add_argument("id", help="id of an artefact, a run, a prediction, a knowledge item or a draft")
    lineage.add_argument("--limit", type=int, default=20, help="rows to print of each kind (default: 20)")
    lineage.set_defaults(run=_lineage)

    rests = commands.add_parser(
        "rests-on",
        parents=[shared],
        help="list what rests on knowledge items: banks, samples, encoders, answers and scores",
        description="Name items by what they have in common. What rests on them holds them, was shown them, or was "
        "made from what was.",
    )
    chosen = rests.add_mutually_exclusive_group(required=True)
    for by in COLUMNS:
        chosen.add_argument(f"--{by}", nargs="+", metavar=by.upper(), help=f"items with this {NAMES[by]}")
    chosen.add_argument(f"--{GONE}", action="store_true", help="items that the latest state of their corpus lacks")
    rests.set_defaults(run=_rests_on)

    verify = commands.add_parser("verify", parents=[shared], help="hash every shard again and name those that changed")
    verify.add_argument("--content", action="store_true", help="hash the rows as well as the bytes")
    verify.set_defaults(run=_verify)


def _lineage(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    kind = find_kind(con, options.id)
    if kind in _TRACES:
        _print_links(_TRACES[kind](con, options.id, limit=options.limit))
        return 0
    if kind == "run":
        made = [row["fingerprint"] for row in read_report_rows(con, "stage_table", {"run_id": options.id})]
        print(f"run {options.id}: {len(made)} artefacts")
        _print_edges("made from", trace_upward(con, *made))
        return 0
    print(f"artefact {options.id}")
    _print_edges("made from", trace_upward(con, options.id))
    _print_edges("used by", trace_downward(con, options.id))
    return 0


def _print_links(links: Sequence[Link]) -> None:
    """Print links by kind, with their total, and how many of them are printed if not all are."""
    kind = None
    for link in links:
        if link.kind != kind:
            kind = link.kind
            shown = sum(other.kind == kind for other in links)
            print(f"{kind} ({link.total}{f', the first {shown}' if shown < link.total else ''})")
        place = "" if link.place is None else f"  {link.place:>3}"
        value = "" if link.value is None else f"  {link.value:.3g}"
        print(f"  {link.id}{place}{value}  {link.detail or ''}".rstrip())


def _print_edges(title: str, edges: Sequence[Edge]) -> None:
    print(f"{title} ({len(edges)} edges)")
    for edge in edges:
        print(
            f"  {edge.stage or 'unknown'} {edge.fingerprint}"
            f"  <- {edge.role}: {edge.input_stage or 'not registered'} {edge.input_fingerprint}"
        )


def _rests_on(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    by = next(each for each in (*COLUMNS, GONE) if getattr(options, each))
    found = find_dependents(con, by, [] if by == GONE else getattr(options, by))
    if not found:
        print("No item is gone: the latest state of each corpus has all items of the states before.")
        return 0
    print("\n".join(describe_dependents(found)))
    return 0


def describe_dependents(found: Sequence[Dependent]) -> list[str]:
    """Return a line on the items, and one for each artefact that rests on them."""
    one = found[0].num_items == 1
    lines = [f"{found[0].num_items:,} item{'' if one else 's'}; on {'it' if one else 'them'} rest, oldest first:"]
    for each in found:
        rows = "" if each.num_rows is None else f" ({each.num_rows:,} rows)"
        last = each.last_run or "(unknown)"
        lines.append(f"  {each.stage:<14} {each.fingerprint}  {each.why}{rows}, last used by run {last}")
    return lines


def _verify(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    checked = verify_artefacts(con, content=options.content)
    for artefact in checked:
        for fault in artefact.faults:
            print(f"{artefact.stage} {artefact.fingerprint}: {fault}")
    bad = sum(bool(artefact.faults) for artefact in checked)
    shards = sum(artefact.num_shards for artefact in checked)
    verdict = f"{bad} artefacts have faults" if bad else "all unchanged"
    print(f"{len(checked)} artefacts, {shards} shards hashed again: {verdict}")
    return 1 if bad else 0
