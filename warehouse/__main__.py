"""The command line of the warehouse: what was made, from what, and what rests on it.

Only `migrate` writes. Owns the output on the terminal; the answers come from the package's functions.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from duckdb import DuckDBPyConnection, Error

from warehouse.commands import lineage, metrics
from warehouse.commands.terminal import guard_output
from warehouse.comparison import STAGES_OF_A_RUN, compare_folders, compare_stores
from warehouse.connection import NO_RUN, open_warehouse
from warehouse.content import RECORD, UNSTABLE_COLUMNS
from warehouse.openlineage import send_openlineage_events, write_openlineage_lines
from warehouse.places import open_place
from warehouse.records import find_artefact
from warehouse.samples.cards import collect_card, find_sources, render_card
from warehouse.samples.filtering import FILTERS, Funnel, count_funnel, filter_parameters, write_funnel
from warehouse.samples.refiltering import count_funnel_with, find_run_with_samples, list_filtered_artefacts
from warehouse.sql import list_parameters, list_sql_names, read_heading, read_report_rows, read_sql


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 if a check found faults, or 2 if the request was wrong."""
    options = _make_parser().parse_args(arguments)
    try:
        with open_warehouse(options.database, read_only=options.command != "migrate", timeout=options.timeout) as con:
            return options.run(con, options)
    except (ValueError, TimeoutError, Error) as error:
        advice = "\nIf the file is damaged, the next run rebuilds it." if isinstance(error, Error) else ""
        print(f"warehouse: {error}{advice}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as `head`, stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m warehouse", description="Shows what was made, and from what.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--database", type=Path, required=True, help="the warehouse, a DuckDB file")
    shared.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for a writer (default: 60)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    lineage.add_commands(commands, shared)
    metrics.add_commands(commands, shared)
    of_run = argparse.ArgumentParser(add_help=False, parents=[shared])
    of_run.add_argument("--run", dest="run_id", help="a run_id (default: the last one that fits)")
    counted = commands.add_parser("funnel", parents=[of_run], help="count a run's kept and dropped drafts, by reason")
    counted.set_defaults(run=_funnel)
    again = commands.add_parser(
        "filter",
        parents=[of_run],
        help="print the funnel that other thresholds would give; writes nothing",
        description=f"Thresholds: {', '.join(sorted(set().union(*filter_parameters().values())))}. null: no filter.",
    )
    _add_values(again, "a threshold in place of the run's own, such as max_answer_words=8")
    again.set_defaults(run=_filter)
    costs = commands.add_parser("ledger", parents=[of_run], help="print tokens, seconds and failures per kept sample")
    costs.set_defaults(run=_ledger)
    events = commands.add_parser("openlineage", parents=[of_run], help="print a run as OpenLineage events, JSON lines")
    events.add_argument("--send", action="store_true", help="send them to OPENLINEAGE_URL instead (docs/operations.md)")
    events.set_defaults(run=_openlineage)

    card = commands.add_parser("card", parents=[of_run], help="print the data card of a run's training set")
    card.add_argument("--name", help="the name of the set (default: the run's recipe)")
    card.set_defaults(run=_card)

    compared = commands.add_parser("diff", parents=[shared], help="list the differing rows of two artefacts or stores")
    compared.add_argument("left", help="fingerprint or folder of an artefact, or folder of a store")
    compared.add_argument("right", help="the same, for the other side")
    compared.add_argument("--ignore", action="append", default=list(UNSTABLE_COLUMNS), help="a column that may differ")
    compared.add_argument("--limit", type=int, default=20, help="rows to print of each table (default: 20)")
    compared.set_defaults(run=_diff)

    report = commands.add_parser(
        "report",
        parents=[of_run],
        help="print one of the queries behind the page",
        description=f"The queries: {', '.join(list_sql_names('reports'))}.",
    )
    report.add_argument("name", help="a query of warehouse/reports, such as score_table")
    _add_values(report, "another parameter")
    report.set_defaults(run=_report)

    commands.add_parser("migrate", parents=[shared], help="create the warehouse, or bring it up to date").set_defaults(
        run=_show_migrations
    )
    return parser


def _add_values(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--set", dest="values", metavar="NAME=JSON", action="append", default=[], help=meaning)


def _read_values(options: argparse.Namespace) -> dict[str, object]:
    """Read the NAME=JSON pairs; a value that is not JSON is a text."""
    values: dict[str, object] = {}
    for pair in options.values:
        name, _, value = pair.partition("=")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values


def _funnel(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    found = read_report_rows(con, "run_tables", {"run_id": find_run_with_samples(con, options.run_id)})
    drafts, drops = ([row["fingerprint"] for row in found if row["holds"] == kind] for kind in ("draft", "drop"))
    _print_funnel(count_funnel(con, drafts, drops))
    return 0


def _print_funnel(counts: Funnel) -> None:
    print("\n".join(write_funnel(counts)))


def _filter(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    for artefact in list_filtered_artefacts(con, find_run_with_samples(con, options.run_id)):
        changes = _read_values(options)
        said = ", ".join(f"{name} = {json.dumps(value)}" for name, value in changes.items())
        print(f"{artefact} filtered again, with {said or 'its own thresholds'}; nothing is written")
        _print_funnel(count_funnel_with(con, artefact, changes))
    return 0


def _ledger(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    rows = read_report_rows(con, "ledger", {"run_id": find_run_with_samples(con, options.run_id)})
    titles = ["mode", "language", "drafts", "failed", "kept", "tokens/kept", "seconds/kept", "failed/kept"]
    print("".join(f"{title:>13}" for title in titles))
    for row in rows:
        counts = [row["num_drafts"], row["num_failed"], row["num_kept"]]
        shares = [row["tokens_a_sample"], row["seconds_a_sample"], row["failures_a_sample"]]
        cells = [row["mode"] or "all", row["language"] or "all", *counts]
        cells += ["none kept" if share is None else f"{share:.4g}" for share in shares]
        print("".join(f"{cell:>13}" for cell in cells))
    return 0


def _card(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    run_id = find_run_with_samples(con, options.run_id)
    facts = read_report_rows(con, "run_facts", {"run_id": run_id})
    if not facts:
        raise ValueError(f"the warehouse has no run {run_id!r}")
    sources = find_sources(con, run_id)
    print(render_card(collect_card(con, sources), sources, name=options.name or facts[0]["recipe_name"]), end="")
    return 0


def _diff(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    with open_place(_find_place(con, options.left)) as left, open_place(_find_place(con, options.right)) as right:
        return _diff_folders(left, right, options)


def _diff_folders(left: Path, right: Path, options: argparse.Namespace) -> int:
    if any(left.glob(f"*/*/{RECORD}")) and any(right.glob(f"*/*/{RECORD}")):
        return _diff_of_stores(left, right)
    found = compare_folders(left, right, ignore=options.ignore)
    for comparison in found:
        print(comparison)
        for row in comparison.differences[: options.limit]:
            print(f"  {' '.join(map(str, row.key))}  {row.kind}  {', '.join(row.columns)}".rstrip())
        if (more := len(comparison.differences) - options.limit) > 0:
            print(f"  and {more} more")
    return 1 if any(comparison.differences for comparison in found) else 0


def _diff_of_stores(left: Path, right: Path) -> int:
    """Print for each artefact of the second store whether the first has the same; return 1 if one differs."""
    rebuilt = [each for each in compare_stores(left, right) if each.stage not in STAGES_OF_A_RUN]
    for each in rebuilt:
        rows_differing = sum(len(table.differences) for table in each.tables)
        verdict = "the same" if each.same else f"{rows_differing} rows and {len(each.files)} other files differ"
        print(f"{each.stage} {each.fingerprint}: {verdict if each.known else 'not there before'}")
    return 0 if all(each.same for each in rebuilt) else 1


def _find_place(con: DuckDBPyConnection, name: str) -> str:
    """Find an artefact's folder or address by its fingerprint; a folder or an address is returned as it is."""
    if Path(name).is_dir() or "://" in name:
        return name
    if (record := find_artefact(con, name)) is None:
        raise ValueError(f"{name!r} is neither the fingerprint of an artefact in the warehouse nor a folder")
    return record["uri"]


def _report(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    needed = list_parameters(read_sql("reports", options.name))
    values = {"limit": 20, "reasons": list(FILTERS)} | _read_values(options)
    if "run_id" in needed:
        values["run_id"] = _find_run_id(con, options)
    if options.name.startswith("card_") and not needed <= values.keys():
        values = find_sources(con, _find_run_id(con, options)).list_parameters() | values
    print(read_heading(read_sql("reports", options.name)))
    for row in read_report_rows(con, options.name, values):
        print(json.dumps(row, ensure_ascii=False, default=str))
    return 0


def _openlineage(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    run_id = _find_run_id(con, options)
    if options.send:
        print(f"sent {send_openlineage_events(con, run_id)} events of the run {run_id}")
    else:
        print(write_openlineage_lines(con, run_id), end="")
    return 0


def _show_migrations(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    names = con.execute("SELECT name FROM migration ORDER BY name").fetchall()
    print(f"{options.database} has {', '.join(name for (name,) in names)}")
    return 0


def _find_run_id(con: DuckDBPyConnection, options: argparse.Namespace) -> str:
    """Return the id of the run that was asked for, or else of the run that started last."""
    if options.run_id:
        return options.run_id
    latest = read_report_rows(con, "recent_runs", {"limit": 1})
    if not latest:
        raise ValueError(NO_RUN)
    return latest[0]["run_id"]


if __name__ == "__main__":
    guard_output()
    sys.exit(main())
