"""Metrics of all runs for Prometheus: a file for its textfile collector, which each run refreshes, and a command."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from warehouse.sql import read_report_rows

HELP = {
    "comem_runs": "Runs by flow, recipe and how they ended.",
    "comem_last_run_started_timestamp_seconds": "When the last run of a flow and recipe began.",
    "comem_last_run_seconds": "How long the last run of a flow and recipe took.",
    "comem_stages": "Results of stages, by whether they were made, continued, reused or failed.",
    "comem_stage_seconds": "Seconds of stages.",
    "comem_stage_rows_made": "Rows of the results that stages made.",
    "comem_stage_tokens": "Tokens of prompts and answers that stages cost.",
    "comem_stage_failures": "Stages that failed, by the kind of error.",
    "comem_dropped_drafts": "Drafts that filters dropped, by reason.",
    "comem_dropped_rows": "Rows of corpora and benchmarks that could not be used, by reason.",
    "comem_score": "The last score over all questions of a benchmark under a condition.",
}


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command to those of the warehouse; `shared` has the options of all."""
    metrics = commands.add_parser("metrics", parents=[shared], help="print the metrics of all runs, for Prometheus")
    metrics.set_defaults(run=_print_metrics)


def write_metrics(con: DuckDBPyConnection) -> str:
    """Return the metrics in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily

    class Collector:
        def collect(self) -> Iterable[GaugeMetricFamily]:
            rows = read_report_rows(con, "metrics", {})
            for name, samples in groupby(rows, key=itemgetter("metric")):
                labels = [(json.loads(row["labels"]), row["value"]) for row in samples]
                family = GaugeMetricFamily(name, HELP[name], labels=list(labels[0][0]))
                for values, value in labels:
                    family.add_metric([str(each) for each in values.values()], value)
                yield family

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry).decode()


def refresh_metrics(con: DuckDBPyConnection, path: Path) -> None:
    """Write the metrics into a file, which is there whole or not at all."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    hidden.write_text(write_metrics(con), encoding="utf-8")
    hidden.replace(path)


def _print_metrics(con: DuckDBPyConnection, options: argparse.Namespace) -> int:
    print(write_metrics(con), end="")
    return 0
