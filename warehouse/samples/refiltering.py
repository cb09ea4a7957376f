"""Shows what other thresholds would keep: filters a run's drafts again, without generating or writing anything.

It finds a filtering in the warehouse and repeats it; `warehouse.samples.filtering` has the filters and the funnel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from duckdb import DuckDBPyConnection

from warehouse.records import find_artefact
from warehouse.samples.filtering import Funnel, count_funnel, filter_parameters, run_filters
from warehouse.sql import read_report_rows

_INSTEAD = "filtered again"


def find_run_with_samples(con: DuckDBPyConnection, run_id: str | None) -> str:
    """Return a run's id, or else that of the last run that filtered drafts.

    Raises ValueError for a run without filtered drafts, whatever its flow and its status.
    """
    if run_id is not None:
        found = {row["holds"] for row in read_report_rows(con, "run_tables", {"run_id": run_id})}
        if not {"draft", "drop"} <= found:
            raise ValueError(f"the run {run_id} has no filtered drafts")
        return run_id
    latest = read_report_rows(con, "runs_with_samples", {"limit": 1})
    if not latest:
        raise ValueError("no run has filtered drafts yet: synth-and-train makes them")
    return latest[0]["run_id"]


def list_filtered_artefacts(con: DuckDBPyConnection, run_id: str) -> list[str]:
    """Return the artefacts of a run with samples and drops; ValueError if it has none."""
    found = read_report_rows(con, "run_tables", {"run_id": run_id})
    drops = [row["fingerprint"] for row in found if row["holds"] == "drop"]
    if not drops:
        raise ValueError(f"the run {run_id} has no filtered drafts")
    return drops


def count_funnel_with(con: DuckDBPyConnection, artefact: str, changes: Mapping[str, object]) -> Funnel:
    """Filter the drafts of a filtered artefact again, with `changes` to its parameters, and count.

    Reads the rows in the warehouse. A parameter that the artefact's recipe lacks, because an older version made it, is
    off. Raises ValueError for a parameter that no filter has.
    """
    record = find_artefact(con, artefact)
    if record is None:
        raise ValueError(f"no artefact {artefact} is registered")
    inputs: Mapping[str, str] = record["inputs"]
    sources = {name: _find_inputs(inputs, name) for name in ("drafts", "verdicts", "questions", "benchmarks")}
    off = dict.fromkeys(set().union(*filter_parameters().values()))
    drops = run_filters(con, **sources, parameters=off | (record["recipe"] or {}) | dict(changes))
    con.register("drops_instead", drops)
    try:
        con.execute(f"CREATE TEMP VIEW drop AS SELECT '{_INSTEAD}' AS artefact, * FROM drops_instead")
        return count_funnel(con, sources["drafts"], _INSTEAD)
    finally:
        con.execute("DROP VIEW IF EXISTS temp.drop")
        con.unregister("drops_instead")


def _find_inputs(inputs: Mapping[str, str], name: str) -> Sequence[str]:
    """Return the inputs in a role, such as `drafts`; `benchmark okvqa` and `benchmark oven` are in `benchmarks`."""
    return [fingerprint for role, fingerprint in inputs.items() if role.startswith(name.removesuffix("s"))]
