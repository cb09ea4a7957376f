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

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.scores import compute_percent, find_cluster
from comem_core.evaluation.statistics import average_interval
from comem_core.measures.results import RESULTS, Measured, write_results
from comem_core.measures.tables import refresh_tables
from comem_core.recipes.recipe import ReaderRecipe
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.evaluations import read_marks
from warehouse.sql import read_report_rows

COMMAND, RECIPE = "make demo", "tiny_cpu"
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
    def is_own(self) -> bool:
        """Whether the run is of another recipe or backbone than the demo's."""
        name = self.facts["recipe_name"].split("+")[0]
        return name != RECIPE or any(each.startswith("backbone=") for each in self.changed)

    @property
    def changed(self) -> list[str]:
        """The changes of the recipe's name: variants and another reader."""
        return self.facts["recipe_name"].split("+")[1:]

    def make_shared(self) -> dict[str, Any]:
        """Return what every row of this run has."""
        told = {"recipe": self.facts["recipe_name"], "commit": self.facts["commit"]}
        return told | {"command": self._write_command(), "seeds": (self.seed,)}

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

    A run of the plain recipe gives the demo's results for every seed of it that has completed, and the means of
    `FEWEST_SEEDS` or more. Its time and memory are written only if it made every stage from the beginning; otherwise
    the stored rows stay, and a line says so. A run of a variant or another reader gives rows of the side tables.

    Raises:
        ValueError: there is no completed run in the warehouse, or the last one is of another recipe.
    """
    with open_warehouse(context.warehouse, read_only=True) as con:
        runs = con.execute(
            "SELECT run_id FROM run WHERE flow = 'synth-and-train' AND status = 'completed' ORDER BY ended DESC"
        ).fetchall()
        ended = [_Ended.of(read_report_rows(con, "run_facts", {"run_id": run_id})[0]) for (run_id,) in runs]
        if not ended:
            raise ValueError(f"{context.warehouse} has no completed run of synth-and-train; run `make demo` first")
        last = ended[0]
        if last.is_own:
            raise ValueError(
                f"the last completed run is of the recipe {last.facts['recipe_name']}, but what is recorded are runs "
                f"of {RECIPE}; run `make demo` first"
            )
        reused = [row["stage"] for row in read_report_rows(con, "run_reused", {"run_id": last.run_id})]
        by_seed = {each.seed: each for each in reversed(ended) if each.like == last.like}
        asked = [
            _Asked(
                run=by_seed[seed],
                scores=read_report_rows(con, "score_table", {"run_id": by_seed[seed].run_id}),
                marks=read_marks(con, by_seed[seed].run_id, metric=OFFICIAL),
            )
            for seed in sorted(by_seed)
        ]
    topic = SIDE_TABLES if last.changed else DEMO
    if last.changed:
        [of_last] = [each for each in asked if each.run is last]
        measured = of_last.list_scores(suffix="+".join(["", *last.changed]))
    else:
        shared = last.make_shared()
        measured = [row for each in asked for row in each.list_scores(suffix=f"_seed_{each.run.seed}")]
        measured += _average_seeds(asked)
        if reused:
            print(f"demo_seconds and demo_peak_memory_gb stay as they were: the last demo reused {', '.join(reused)}")
        else:
            measured.append(Measured(measure="demo_seconds", value=round(seconds), unit="s", n=1, **shared))
            peak = round(peak_memory_gb, 2)
            measured.append(Measured(measure="demo_peak_memory_gb", value=peak, unit="GB", n=1, **shared))
    write_results(topic, measured, folder=root / RESULTS)
    refresh_tables(topic, root=root)
    return measured


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A run with its scores (rows of the report `score_table`) and its marks by the official metric."""

    run: _Ended
    scores: Sequence[Mapping[str, Any]]
    marks: Sequence[Mapping[str, Any]]

    def list_overall(self) -> dict[str, dict[str, Any]]:
        """Return the scores over the whole benchmark by the official metric, in percent, by condition."""
        return {
            row["condition"]: {"n": row["n"]} | {name: compute_percent(row[name]) for name in ("value", "low", "high")}
            for row in self.scores
            if (row["split"], row["metric"]) == ("all", OFFICIAL)
        }

    def list_scores(self, *, suffix: str) -> list[Measured]:
        shared = self.run.make_shared()
        return [
            Measured(measure=f"{OFFICIAL}_{condition}{suffix}", unit="%", **numbers, **shared)
            for condition, numbers in self.list_overall().items()
        ]


def _average_seeds(asked: Sequence[_Asked]) -> list[Measured]:
    """Average the scores of runs that differ in their seed; the interval is for another seed on other questions."""
    if len(asked) < FEWEST_SEEDS:
        return []
    scores, rows = [each.list_overall() for each in asked], []
    shared = asked[-1].run.make_shared()
    shared["seeds"] = tuple(each.run.seed for each in asked)
    shared["command"] = "; ".join(each.run.make_shared()["command"] for each in asked)
    for condition in scores[-1]:
        marked = [{row["question_id"]: row for row in each.marks if row["condition"] == condition} for each in asked]
        questions = [marked[0][question_id] for question_id in sorted(set.intersection(*map(set, marked)))]
        benchmark = find_benchmark(questions[0]["benchmark"])
        found = average_interval(
            [[each[question["question_id"]]["value"] for question in questions] for each in marked],
            [find_cluster(question, benchmark.cluster_by) for question in questions],
            splits=[question["split"] for question in questions],
            total=benchmark.total,
        )
        value = round(float(np.mean([each[condition]["value"] for each in scores])), 2)
        low, high = compute_percent(found.low), compute_percent(found.high)
        of_condition = Measured(
            measure=f"{OFFICIAL}_{condition}", value=value, low=low, high=high, unit="%", n=found.n, **shared
        )
        rows.append(of_condition)
    return rows
