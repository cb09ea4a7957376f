"""The commands that need no server: plan a run, record the measurements of the last demo, compare two runs.

Importing this takes seconds, because it imports what flows import: Prefect, Ray, statistics.
"""

import argparse
import json

from flows.checking import check_parameters
from flows.local.comparing import compare_runs
from flows.local.layout import Layout
from flows.local.parameters import read_parameters
from flows.local.recording import record as write_results
from flows.synth_and_train import synth_and_train
from tasks.engine.context import Context


def plan(layout: Layout, arguments: argparse.Namespace) -> int:
    """Go through synth-and-train without making anything, and show what each stage would do."""
    parameters = check_parameters(synth_and_train, read_parameters(arguments.parameters))
    parameters["plan"] = True
    synth_and_train.fn(**parameters)
    return 0


def record(layout: Layout, arguments: argparse.Namespace) -> int:
    """Write the measurements of the last demo to docs/results and into the tables that quote them."""
    path = layout.root / ".comem" / "last-demo.json"
    if not path.exists():
        raise ValueError(f"{path} is missing: no demo has finished here; run `make demo` first")
    taken = json.loads(path.read_text())
    for row in write_results(Context.from_environment(), layout.root, **taken):
        print(f"{row.measure:>20}  {row.value} {row.unit}")
    return 0


def compare(layout: Layout, arguments: argparse.Namespace) -> int:
    """Write the pages that compare two runs, and print where they are."""
    folder = layout.root / arguments.output
    for page, verdict in compare_runs(Context.from_environment(), arguments.before, arguments.now, folder):
        print(f"{verdict}\n  {page.absolute().as_uri()}")
    return 0
