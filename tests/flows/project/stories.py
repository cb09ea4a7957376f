"""Two small real flows: one stage of six shards on Ray, recorded in the warehouse; and one that only speaks."""

import os
import time
from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa
from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from pydantic import AfterValidator

from tasks.engine.context import Context, RunRef
from tasks.engine.on_ray import join_ray, map_shards
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import report_progress
from tasks.engine.workers import Workers
from warehouse.connection import open_warehouse
from warehouse.records import finish_run, record_run
from warehouse.schemas import make_schema


@dataclass(frozen=True)
class SmallRecipe:
    num_shards: int = 6


@stage_task()
def filter_qa(run: RunRef, recipe: SmallRecipe) -> Reference:
    schema, seconds = make_schema("sample"), float(os.environ.get("SHARD_SECONDS", "0.1"))
    finished_shards, seen = run.context.root / "finished_shards.txt", run.context.root / f"seen-{recipe.num_shards}.txt"

    def make(partial: Partial) -> None:
        def make_worker():
            def work(name: str) -> None:
                time.sleep(seconds)
                partial.write_shard(name, pa.table({"sample_id": [name]}, schema=schema))
                with finished_shards.open("a") as file:
                    file.write(f"{name}\n")
                seen.write_text(
                    f"{run.context.batch_size} {os.environ.get('COMEM_BATCH_SIZE')} {os.environ.get('MARK')}"
                )

            return work

        names = [f"part-{number:05d}" for number in range(recipe.num_shards)]
        waiting = {name: name for name in names if name not in partial.list_finished()}
        progress = report_progress(every_seconds=0)
        map_shards(make_worker, waiting, workers=Workers.of(run.context), on_done=progress)

    return run_stage(run, Stage(name="filter", version="1", table="sample"), recipe, {}, make)


@flow(name="synth-and-train")
def synth_and_train(num_shards: int = 6) -> str:
    context = Context.from_environment()
    run = RunRef(run_id=str(flow_run.id), recipe_name="small", context=context)
    facts = {"run_id": run.run_id, "flow": "synth-and-train", "recipe_name": "small", "recipe": None}
    with open_warehouse(context.warehouse) as con:
        record_run(con, {**facts, "flow_run_id": run.run_id})
    with join_ray(context):
        made = filter_qa(run, SmallRecipe(num_shards))
    with open_warehouse(context.warehouse) as con:
        finish_run(con, run.run_id, status="completed")
    return made.fingerprint


def at_least_one(number: int) -> int:
    if number < 1:
        raise ValueError(f"found {number}; expected 1 or more")
    return number


@flow(name="re-evaluate")
def re_evaluate(limit: Annotated[int, AfterValidator(at_least_one)] | None = None) -> None:
    get_run_logger().info("evaluated again")
