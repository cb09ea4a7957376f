"""Filtering: SQL over drafts and verdicts. Nothing is deleted; a draft is dropped with a reason, or it is a sample."""

from collections.abc import Mapping
from dataclasses import asdict

import pyarrow.parquet as pq

from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.rows.tables import list_shards
from tasks.run import Run
from warehouse.samples.filtering import list_kept_samples, run_filters

SAMPLES = Stage(name="samples", version="7", table="sample", of="drafts")
KEPT_SHARD, DROPS = "part-00000", "drops"
HELD_OUT = "held_out"


@stage_task(name="filter-qa")
def filter_qa(
    run: Run,
    questions: Reference,
    drafts: Reference,
    verdicts: Reference,
    benchmarks: Mapping[str, Reference] | None = None,
) -> Reference:
    """Drop drafts by the recipe's thresholds and keep the rest as samples.

    `benchmarks` maps names to the questions of benchmarks that must not be among the samples; it may be empty.
    """
    apart_from = benchmarks or {}

    def make(artefact: Partial) -> None:
        source = list_shards(drafts, "draft")
        drops = run_filters(
            drafts=source,
            verdicts=list_shards(verdicts, "verdict"),
            questions=list_shards(questions, "question"),
            benchmarks=[shard for benchmark in apart_from.values() for shard in list_shards(benchmark)],
            parameters=asdict(run.recipe.filters),
        )
        kept = list_kept_samples(drafts=source, drops=drops)
        artefact.write_shard(DROPS, drops, rows_of="drop")
        artefact.write_shard(KEPT_SHARD, kept)
        get_stage_logger().info("kept %d of %d drafts", kept.num_rows, drafts.num_rows)

    inputs = {"questions": questions, "drafts": drafts, "verdicts": verdicts}
    inputs |= {f"benchmark {name}": benchmark for name, benchmark in apart_from.items()}
    return run_stage(run, SAMPLES, run.recipe.filters, inputs, make)


def read_dropped(kept: Reference, reason: str) -> set[str]:
    """Return the ids of the drafts that were dropped for a reason."""
    table = pq.read_table(kept.folder / f"{DROPS}.parquet", columns=["sample_id", "reason"])
    return {row["sample_id"] for row in table.to_pylist() if row["reason"] == reason}
