"""Writes the measurements of the last demo to `docs/results` and into the tables that quote them."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from comem_core.measures.results import RESULTS, Measured, write_results
from comem_core.measures.tables import refresh_tables
from comem_core.recipes.recipe import ReaderRecipe
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.sql import read_report_rows

COMMAND = "make demo"
DEMO, SIDE_TABLES = "demo", "side_tables"


def record(context: Context, root: Path, *, seconds: float, peak_memory_gb: float) -> list[Measured]:
    """Write the results of the last completed run, and return them.

    A run of the plain recipe gives the demo's results. A run of a variant or another reader gives rows of the side
    tables, where other rows are kept.

    Raises:
        ValueError: there is no completed run in the warehouse.
    """
    with open_warehouse(context.warehouse, read_only=True) as con:
        last = con.execute(
            "SELECT run_id FROM run WHERE flow = 'synth-and-train' AND status = 'completed' ORDER BY ended DESC LIMIT 1"
        ).fetchone()
        if last is None:
            raise ValueError(f"{context.warehouse} has no completed run of synth-and-train; run `make demo` first")
        scores = read_report_rows(con, "score_table", {"run_id": last[0]})
        facts = read_report_rows(con, "run_facts", {"run_id": last[0]})[0]
    _, *changed = facts["recipe_name"].split("+")
    shared = {"recipe": facts["recipe_name"], "command": _write_command(changed, facts), "commit": facts["commit"]}
    overall = [score for score in scores if score["split"] == "all" and score["metric"] == "infoseek"]
    measured = [_make_score(score, shared, of="+".join(["", *changed])) for score in overall]
    if not changed:
        measured.append(Measured(measure="demo_seconds", value=round(seconds), unit="s", n=1, **shared))
        peak = round(peak_memory_gb, 2)
        measured.append(Measured(measure="demo_peak_memory_gb", value=peak, unit="GB", n=1, **shared))
    topic = SIDE_TABLES if changed else DEMO
    write_results(topic, measured, keep_others=bool(changed), folder=root / RESULTS)
    refresh_tables(topic, root=root)
    return measured


def _write_command(changed: Sequence[str], facts: Mapping[str, Any]) -> str:
    """Return the command of a run, from the changes in its recipe's name."""
    given = [f"-p variant={each}" for each in changed if not each.startswith("reader=")]
    if reader := json.loads(facts["recipe"]).get("reader"):
        own = asdict(ReaderRecipe(name=reader["name"]))
        unusual = {name: value for name, value in reader.items() if value != own.get(name)}
        said = json.dumps({"name": reader["name"]} | unusual) if unusual else reader["name"]
        given.append(f"-p reader={shlex.quote(said)}")
    return f"{COMMAND} ARGS={shlex.quote(' '.join(given))}" if given else COMMAND


def _make_score(score: Mapping[str, Any], shared: Mapping[str, Any], *, of: str) -> Measured:
    percent: dict[str, Any] = {
        name: None if score[name] is None else round(100 * score[name], 2) for name in ("value", "low", "high")
    }
    return Measured(measure=f"em_{score['condition']}{of}", unit="%", n=score["n"], **percent, **shared)
