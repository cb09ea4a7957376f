"""Compares two runs: a page for each benchmark that both scored, with the moved scores, the causes and the answers."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from comem_core.addresses.copies import open_folder
from tasks.engine.context import Context
from tasks.evaluation.compare import PAGE, collect_comparison, open_pictures
from warehouse.connection import open_warehouse
from warehouse.evaluations import list_evaluations
from warehouse.page.comparison import render_comparison
from warehouse.records import find_artefact


def compare_runs(context: Context, before: str, now: str, folder: Path) -> list[tuple[Path, str]]:
    """Write the pages that compare two runs into `folder`, and return each page with its verdict.

    Evaluations are paired by benchmark and encoder name, or by benchmark alone if each run has one encoder. For a run
    and itself, its encoders are compared. Raises ValueError for a run without evaluations, or if there is no pair.
    """
    with open_warehouse(context.warehouse, read_only=True) as con:
        known = [row[0] for row in con.execute("SELECT DISTINCT run_id FROM evaluation").fetchall()]
        sides = [list_evaluations(con, _find_run(known, named)) for named in (before, now)]
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for old, new in pair_evaluations(*sides):
        compared = collect_comparison(context, old, new)
        with open_warehouse(context.warehouse, read_only=True) as con:
            record = find_artefact(con, new["questions"])
        assert record is not None, new["questions"]
        page = folder / f"{new['benchmark']}-{_shorten(old)}-{_shorten(new)}-{PAGE}"
        page.write_text(
            render_comparison(compared, images=open_pictures([open_folder(record["uri"])])), encoding="utf-8"
        )
        pages.append((page, f"{new['benchmark']}, {new['encoder_name']}: {compared.verdict}"))
    return pages


def _find_run(known: Sequence[str], named: str) -> str:
    """Return the run of this id, or of the only id that begins like this: pages show eight letters.

    Raises ValueError if there is none or several.
    """
    found = [run_id for run_id in known if run_id == named] or [run_id for run_id in known if run_id.startswith(named)]
    if len(found) == 1 and named:
        return found[0]
    said = "has no evaluation" if not found else f"is {len(found)} runs: {', '.join(found)}"
    known_runs = ", ".join(known) or "none yet; run synth-and-train or re-evaluate first"
    raise ValueError(f"the run {named!r} {said}; runs with evaluations: {known_runs}")


def _shorten(evaluation: dict[str, Any]) -> str:
    return f"{evaluation['run_id'][:8]}-{evaluation['encoder'][:8]}"


def pair_evaluations(before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]) -> list[tuple[dict, dict]]:
    """Pair the evaluations of two runs, or of one run with itself. Raises ValueError if there is no pair."""
    if before == now:
        pairs = [(old, new) for old, new in combinations(before, 2) if old["benchmark"] == new["benchmark"]]
        if not pairs:
            raise ValueError("to compare a run with itself means to compare its encoders, but this run evaluated one")
        return pairs
    alone = all(len({each["encoder_name"] for each in side}) == 1 for side in (before, now))
    pairs = [
        (old, new)
        for new in now
        for old in before
        if old["benchmark"] == new["benchmark"] and (alone or old["encoder_name"] == new["encoder_name"])
    ]
    if not pairs:
        raise ValueError("the two runs scored no benchmark in common with an encoder of the same name")
    return pairs
