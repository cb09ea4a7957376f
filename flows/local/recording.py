"""Writes the measurements of the last demos to `docs/results` and into the tables that quote them.

A demo's headline is the mean of several seeds, each a demo of its own (`make demo ARGS="-p seed=1"`).
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from duckdb import DuckDBPyConnection

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.scores import compute_percent, find_cluster
from comem_core.evaluation.statistics import average_interval
from comem_core.measures.results import RESULTS, Measured, write_results
from comem_core.measures.tables import refresh_tables
from comem_core.recipes.recipe import ReaderRecipe
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.evaluations import list_evaluations
from warehouse.sql import read_report_rows

COMMAND = "make demo"
DEMO, SIDE_TABLES = "demo", "side_tables"
OFFICIAL = "infoseek"
FEWEST_SEEDS = 3
"""A headline is the mean of at least so many seeds; one alone may be the best of them."""


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """A completed run with its scores over the whole benchmark; `like` is its recipe without the seed."""

    run_id: str
    seed: int
    like: str
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "_Ended":
        recipe = json.loads(facts["recipe"])
        seed = recipe["training"]["encoder"].pop("seed")
        recipe["training"]["optimizer"].pop("seed")
        return cls(run_id=facts["run_id"], seed=seed, like=json.dumps(recipe, sort_keys=True), facts=facts)

    @property
    def changed(self) -> list[str]:
        """The changes of the recipe's name: variants and another reader."""
        return self.facts["recipe_name"].split("+")[1:]

    def make_shared(self) -> dict[str, Any]:
        """Return what every row of this run has."""
        return {"recipe": self.facts["recipe_name"], "command": self._write_command(), "commit": self.facts["commit"]}

    def _write_command(self) -> str:
        """Return the command of the run, from its seed and the changes in its recipe's name."""
        given = [f"-p seed={self.seed}"] if self.seed else []
        given += [f"-p variant={each}" for each in self.changed if not each.startswith("reader=")]
        if reader := json.loads(self.facts["recipe"]).get("reader"):
            own = asdict(ReaderRecipe(name=reader["name"]))
            unusual = {name: value for name, value in reader.items() if value != own.get(name)}
            said = json.dumps({"name": reader["name"]} | unusual) if unusual else reader["name"]
            given.append(f"-p reader={shlex.quote(said)}")
        return f"{COMMAND} ARGS={shlex.quote(' '.join(given))}" if given else COMMAND


def record(context: Context, root: Path, *, seconds: float, peak_memory_gb: float) -> list[Measured]:
    """Write the results of the last completed run, and return them.

    A run of the plain recipe gives the demo's results by seed, and, where `FEWEST_SEEDS` seeds of it have completed,
    their means. A run of a variant or another reader gives rows of the side tables.

    Raises:
        ValueError: there is no completed run in the warehouse.
    """
    with open_warehouse(context.warehouse, read_only=True) as con:
        ended = _list_ended(con)
        if not ended:
            raise ValueError(f"{context.warehouse} has no completed run of synth-and-train; run `make demo` first")
        last, topic = ended[0], SIDE_TABLES if ended[0].changed else DEMO
        if topic == SIDE_TABLES:
            measured = _list_scores(con, last, suffix="+".join(["", *last.changed]))
        else:
            by_seed = {each.seed: each for each in reversed(ended) if each.like == last.like}
            measured = _list_scores(con, last, suffix=f"_seed_{last.seed}")
            measured += _average_seeds(con, [by_seed[seed] for seed in sorted(by_seed)])
            shared = last.make_shared() | {"n": 1, "seeds": (last.seed,)}
            measured.append(Measured(measure="demo_seconds", value=round(seconds), unit="s", **shared))
            peak = round(peak_memory_gb, 2)
            measured.append(Measured(measure="demo_peak_memory_gb", value=peak, unit="GB", **shared))
    write_results(topic, measured, folder=root / RESULTS)
    refresh_tables(topic, root=root)
    return measured


def _list_ended(con: DuckDBPyConnection) -> list[_Ended]:
    """List the completed runs of synth-and-train, the last one first."""
    found = con.execute(
        "SELECT run_id FROM run WHERE flow = 'synth-and-train' AND status = 'completed' ORDER BY ended DESC"
    ).fetchall()
    return [_Ended.of(read_report_rows(con, "run_facts", {"run_id": run_id})[0]) for (run_id,) in found]


def _read_scores(con: DuckDBPyConnection, run: _Ended) -> list[dict[str, Any]]:
    """Read the scores over the whole benchmark by its official metric, in percent."""
    scores = read_report_rows(con, "score_table", {"run_id": run.run_id})
    percent = ({name: compute_percent(score[name]) for name in ("value", "low", "high")} for score in scores)
    return [
        score | each
        for score, each in zip(scores, percent, strict=True)
        if (score["split"], score["metric"]) == ("all", OFFICIAL)
    ]


def _list_scores(con: DuckDBPyConnection, run: _Ended, *, suffix: str) -> list[Measured]:
    shared = run.make_shared() | {"seeds": (run.seed,), "unit": "%"}
    return [
        Measured(measure=f"{OFFICIAL}_{each['condition']}{suffix}", **_pick_numbers(each), **shared)
        for each in _read_scores(con, run)
    ]


def _pick_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("value", "low", "high", "n")}


def _average_seeds(con: DuckDBPyConnection, runs: Sequence[_Ended]) -> list[Measured]:
    """Average the scores of runs that differ in their seed; the interval is for another seed on other questions."""
    if len(runs) < FEWEST_SEEDS:
        return []
    scores = [{each["condition"]: each["value"] for each in _read_scores(con, run)} for run in runs]
    marks = [_read_marks(con, run) for run in runs]
    shared = runs[-1].make_shared() | {"unit": "%", "seeds": tuple(run.seed for run in runs)}
    shared["command"] = "; ".join(run.make_shared()["command"] for run in runs)
    rows = []
    for condition in scores[-1]:
        benchmark, asked = marks[-1][condition]
        known = find_benchmark(benchmark)
        ids = sorted(set.intersection(*({*each[condition][1]} for each in marks)))
        found = average_interval(
            [[each[condition][1][question_id]["value"] for question_id in ids] for each in marks],
            [find_cluster(asked[question_id], known.cluster_by) for question_id in ids],
            splits=[asked[question_id]["split"] for question_id in ids],
            total=known.total,
        )
        value = round(float(np.mean([each[condition] for each in scores])), 2)
        bounds = {"low": compute_percent(found.low), "high": compute_percent(found.high), "n": found.n}
        rows.append(Measured(measure=f"{OFFICIAL}_{condition}", value=value, **bounds, **shared))
    return rows


def _read_marks(con: DuckDBPyConnection, run: _Ended) -> dict[str, tuple[str, dict[str, dict[str, Any]]]]:
    """Read a run's marks: condition -> its benchmark, and question id -> row of the report `official_marks`."""
    marks: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {}
    for evaluation in list_evaluations(con, run.run_id):
        for row in read_report_rows(con, "official_marks", evaluation | {"official": OFFICIAL}):
            marks.setdefault(row["condition"], (evaluation["benchmark"], {}))[1][row["question_id"]] = row
    return marks
