"""A run that wants one artefact, as a process: `python one_artefact.py FOLDER RUN_ID`. Says when it begins."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasks.engine.context import Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from warehouse.schemas import make_schema


@dataclass(frozen=True)
class OneRecipe:
    size: int = 1


def main(root: Path, run_id: str) -> None:
    def make(partial: Partial) -> None:
        print("began", flush=True)
        (root / f"made-by-{run_id}").touch()
        time.sleep(4)
        partial.write_shard("part-00000", pa.table({"sample_id": ["a"]}, schema=make_schema("sample")))

    context = Context(
        root=root, store=root / "store", warehouse=root / "warehouse.duckdb", benchmarks=root, min_free_disk_mb=10
    )
    run = RunRef(run_id=run_id, recipe_name="test", context=context)
    run_stage(run, Stage(name="filter", version="1", table="sample"), OneRecipe(), {}, make)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
