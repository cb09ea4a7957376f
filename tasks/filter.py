"""Filtering: SQL over drafts and verdicts. Nothing is deleted; a draft is dropped with a reason, or it is a sample."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.partial import Partial
from tasks.run import Run
from tasks.stage import run_stage, stage_logger, stage_task
from tasks.store import Reference
from warehouse.filtering import kept_samples, run_filters

SAMPLES, DROPS = "part-00000", "drops"


@stage_task(name="filter-qa")
def filter_qa(
    run: Run, questions: Reference, drafts: Reference, verdicts: Reference, benchmarks: Sequence[Reference] = ()
) -> Reference:
    """Drop drafts by the recipe's thresholds and keep the rest as samples.

    `benchmarks` hold the questions that the drafts are kept apart from; there may be none.
    """

    def make(artefact: Partial) -> None:
        source = _shards(drafts)
        drops = run_filters(
            drafts=source,
            verdicts=_shards(verdicts),
            questions=_shards(questions),
            benchmarks=[shard for benchmark in benchmarks for shard in _shards(benchmark)],
            parameters=asdict(run.recipe.filters),
        )
        kept = kept_samples(drafts=source, drops=drops)
        artefact.write_shard(DROPS, drops, rows_of="drop")
        artefact.write_shard(SAMPLES, kept)
        stage_logger().info("kept %d of %d drafts", kept.num_rows, drafts.num_rows)

    inputs = {"questions": questions, "drafts": drafts, "verdicts": verdicts}
    inputs |= {f"benchmark {number}": benchmark for number, benchmark in enumerate(benchmarks, start=1)}
    return run_stage(run, "samples", run.recipe.filters, inputs, make, table="sample", version="2")


def _shards(reference: Reference) -> list[Path]:
    return sorted(Path(reference.uri).glob("part-*.parquet"))
