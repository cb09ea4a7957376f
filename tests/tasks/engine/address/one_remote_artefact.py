"""A run that wants one artefact of a bucket, as a process: `python one_remote_artefact.py ADDRESS FOLDER`."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from comem_core.addresses.places import find_store_cache
from tasks.engine.context import Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from warehouse.schemas import make_schema


@dataclass(frozen=True)
class OneRecipe:
    size: int = 1


def main(address: str, root: Path) -> None:
    def make(partial: Partial) -> None:
        print("began", flush=True)
        time.sleep(1)
        partial.write_shard("part-00000", pa.table({"sample_id": ["a"]}, schema=make_schema("sample")))

    root.mkdir(parents=True)
    context = Context(
        root=root,
        store=find_store_cache(address),
        store_address=address,
        warehouse=root / "warehouse.duckdb",
        benchmarks=root,
        min_free_disk_mb=10,
    )
    run = RunRef(run_id=root.name, recipe_name="test", context=context)
    print(run_stage(run, Stage(name="filter", version="1", table="sample"), OneRecipe(), {}, make).num_rows, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
