"""A small run of three stages without Ray, which writes in every way in which stages write.

Each piece of work that is done is noted in a file outside the run's folder, so that a test sees what was done twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from tasks.engine.context import Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.rebuild import find_history, mend_warehouse, put_history
from tasks.engine.reuse import Stage
from tasks.engine.shards import ShardWriter, Work
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store
from warehouse.connection import open_warehouse
from warehouse.history import keep_runs
from warehouse.records import finish_run, record_run
from warehouse.schemas import check_rows, make_blank_row

UNITS = [f"sample {number}" for number in range(8)]
SHARD, BATCH = 4, 2
BUCKET = "bucket"
QUESTIONS = Stage(name="questions", version="1", table="question")
DRAFTS = Stage(name="drafts", version="1", table="draft")
BANK = Stage(name="bank", version="1")
STAGES = (QUESTIONS, DRAFTS, BANK)
EXPLANATION = "eight samples, in two shards of two batches"


class Bucket(LocalFileSystem):
    """A filesystem of addresses whose objects are files, so that writing one is a write point."""

    protocol = BUCKET

    def __init__(self, **options: Any) -> None:
        super().__init__(auto_mkdir=True, **options)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        try:
            return super()._open(path, mode, block_size, **options)
        except NotADirectoryError as error:  # an object's name may begin with another object's
            raise FileNotFoundError(*error.args) from error

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(f"/{path.removeprefix(f'{BUCKET}://')}".replace("//", "/"))


fsspec.register_implementation(BUCKET, Bucket)


@dataclass(frozen=True)
class SmallKey:
    """What decides a result of the small run besides its inputs."""

    of: str


def make_context(root: Path) -> Context:
    """Return a context that keeps all below `root`; the store is in its folder `bucket`, if there is one."""
    bucket = root / BUCKET
    return Context(
        root=root,
        store=root / "store",
        store_address=f"{Bucket.protocol}:/{bucket}" if bucket.is_dir() else None,
        warehouse=root / "warehouse.duckdb",
        benchmarks=root,
        min_free_disk_mb=10,
        rows_per_shard=SHARD,
        batch_size=BATCH,
    )


Further = Callable[[RunRef, Reference, Path], Reference]
"""A stage after the others: it gets the run, their drafts, and the file in which work is noted."""


def run_small(root: Path, done: Path, run_id: str, *further: Further) -> None:
    """Run all stages as a flow does: open the run, make or reuse each result, record the end."""
    context = make_context(root)
    mend_warehouse(context)
    with open_warehouse(context.warehouse) as con:
        started = {"run_id": run_id, "flow": "small", "recipe_name": "small", "recipe": {}, "flow_run_id": None}
        record_run(con, started)
    status = "failed"
    try:
        run = RunRef(run_id=run_id, recipe_name="small", context=context)
        questions = _make_questions(run)
        drafts = _make_drafts(run, questions, done)
        _make_bank(run, drafts)
        for make in further:
            make(run, drafts, done)
        status = "completed"
    finally:
        with open_warehouse(context.warehouse) as con:
            finish_run(con, run_id, status=status)
            keep_runs(con, find_history(context), ended=run_id)
        put_history(context)


def _make_questions(run: RunRef) -> Reference:
    """Write one shard, one for the rows of another table, and what was measured."""

    def make(artefact: Partial) -> None:
        finished = artefact.list_finished()
        artefact.measure("asked", {"units": len(UNITS)})
        if "part-00000" not in finished:
            rows = [make_blank_row("question") | {"question_id": unit, "question": unit} for unit in UNITS]
            artefact.write_shard("part-00000", check_rows("question", rows))
        if "missing" not in finished:
            row = make_blank_row("missing_question") | {"question_id": "no", "reason": "none"}
            artefact.write_shard("missing", check_rows("missing_question", [row]), rows_of="missing_question")

    return run_stage(run, QUESTIONS, SmallKey("questions"), {}, make)


def _make_drafts(run: RunRef, questions: Reference, done: Path) -> Reference:
    """Write shards of batches, as workers do."""

    def make(artefact: Partial) -> None:
        size = artefact.keep("rows_per_shard", run.context.rows_per_shard)
        artefact.measure("explanation", EXPLANATION)
        write = ShardWriter(bind(_make_work, done), artefact, run.context.batch_size, None)
        for start in range(0, len(UNITS), size):
            name = f"part-{start // size:05d}"
            if name not in artefact.list_finished():
                write((name, UNITS[start : start + size]))

    return run_stage(run, DRAFTS, SmallKey("drafts"), {"questions": questions}, make)


def _make_work(done: Path) -> Work:
    def work(units: Sequence[str]) -> pa.Table:
        with done.open("a") as file:
            file.write("".join(f"{unit}\n" for unit in units))
        rows = [make_blank_row("draft") | {"sample_id": unit, "question": unit, "item_ids": [unit]} for unit in units]
        return check_rows("draft", rows)

    return work


def _make_bank(run: RunRef, drafts: Reference) -> Reference:
    """Write a folder of files, a plain file, and take a file of another artefact."""

    def make(artefact: Partial) -> None:
        finished = artefact.list_finished()
        if "vectors" not in finished:
            with artefact.open_folder("vectors") as folder:
                for name in ("0", "1"):
                    (folder / name).write_bytes(name.encode() * 100)
        if "bank.json" not in finished:
            with artefact.open_file("bank.json") as path:
                path.write_text("{}")
        if "drafts" not in finished:
            record = Store.of(run.context).find(drafts.stage, drafts.fingerprint)
            assert record is not None
            artefact.take_file(record["shards"][0], drafts.uri, "drafts")

    return run_stage(run, BANK, SmallKey("bank"), {"drafts": drafts}, make)
