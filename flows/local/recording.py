"""Write down what the last demo measured: `docs/results/demo.json`, and the tables that quote it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comem_core.measures.results import RESULTS, Measured, write_results
from comem_core.measures.tables import refresh_tables
from tasks.context import Context
from warehouse.connection import open_warehouse
from warehouse.sql import rows

COMMAND = "make demo"


def record(context: Context, root: Path, *, seconds: float, peak_memory_gb: float) -> list[Measured]:
    """Write the results of the last completed run of the demo's recipe, and return them.

    Raises:
        ValueError: no such run is in the warehouse.
    """
    with open_warehouse(context.warehouse, read_only=True) as con:
        last = con.execute(
            "SELECT run_id FROM run WHERE flow = 'synth-and-train' AND status = 'completed' ORDER BY ended DESC LIMIT 1"
        ).fetchone()
        if last is None:
            raise ValueError(f"no completed synth-and-train run is in {context.warehouse}; run `make demo` first")
        scores = rows(con, "score_table", {"run_id": last[0]})
        facts = rows(con, "run_facts", {"run_id": last[0]})[0]
    shared = {"recipe": facts["recipe_name"], "command": COMMAND, "commit": facts["commit"]}
    overall = [score for score in scores if score["split"] == "all" and score["metric"] == "infoseek"]
    measured = [_score(score, shared) for score in overall]
    measured.append(Measured(measure="demo_seconds", value=round(seconds), unit="s", n=1, **shared))
    peak = round(peak_memory_gb, 2)
    measured.append(Measured(measure="demo_peak_memory_gb", value=peak, unit="GB", n=1, **shared))
    write_results("demo", measured, keep_others=False, folder=root / RESULTS)
    refresh_tables("demo", root=root)
    return measured


def _score(score: Mapping[str, Any], shared: Mapping[str, Any]) -> Measured:
    percent: dict[str, Any] = {
        name: None if score[name] is None else round(100 * score[name], 2) for name in ("value", "low", "high")
    }
    return Measured(measure=f"em_{score['condition']}", unit="%", n=score["n"], **percent, **shared)
