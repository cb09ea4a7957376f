"""Measures how fast rows become items, and how much memory that takes: the stage on synthetic rows, in its own process.

`python -m tasks.measures.ingesting text 1000000` prints seconds and peak memory as JSON. Rows of kind `text` have no
picture; those of kind `pictures` each have a small PNG of their own. The peak is the largest sum over this process and
its workers.
"""

import argparse
import io
import json
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from comem_core.measures.training.processes import run_elsewhere
from comem_core.recipes import find_recipe, with_knowledge
from tasks.data.ingest import ingest_knowledge
from tasks.engine.context import Context
from tasks.engine.on_ray import join_ray
from tasks.measures import shard_writing
from tasks.run import Run
from tasks.sources import NO_BACKBONE

KINDS = ("text", "pictures")
COMPARED = {
    "ingest_text_vs_today": ("text", ""),
    "ingest_text_with_language_vs_today": ("text", "en"),
    "ingest_picture_vs_today": ("pictures", "en"),
}
ROUNDS = 3
ROWS_PER_GROUP = 10_000
SIDE = 16  # pixels of a synthetic picture


def measure_ingest(kind: str, num_rows: int) -> dict[str, float]:
    """Return `seconds`, `rows_per_s` and `peak_memory_gb` of ingesting synthetic rows, in a process of its own."""
    return run_elsewhere("tasks.measures.ingesting", kind, str(num_rows))


def measure_against(folder: Path, num_rows: int) -> dict[str, float]:
    """Return the ratio of rows written per CPU second, here to an earlier checkout, for each kind of rows.

    Both take turns on the same rows, `ROUNDS` times; the medians are compared. There are eight rows of text for each
    row with a picture.
    """
    ratios = {}
    with tempfile.TemporaryDirectory(prefix="comem-ingest-") as name:
        for measure, (kind, language) in COMPARED.items():
            corpus = Path(name) / f"{kind}.parquet"
            if not corpus.exists():
                make_corpus(corpus, kind, num_rows if kind == "text" else num_rows // 8)
            rates = [[_write_shards(each, corpus, language) for each in (folder, Path.cwd())] for _ in range(ROUNDS)]
            earlier, now = map(statistics.median, zip(*rates, strict=True))
            ratios[measure] = now / earlier
    return ratios


def _write_shards(checkout: Path, corpus: Path, language: str) -> float:
    command = [checkout / ".venv/bin/python", Path(shard_writing.__file__), corpus, language]
    said = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    if said.returncode:
        raise ValueError(f"writing shards in {checkout} failed: {said.stderr.strip()[-2000:]}")
    return float(said.stdout)


def make_corpus(path: Path, kind: str, num_rows: int) -> None:
    """Write a Parquet file of `num_rows` distinct rows, a row group at a time."""
    fields = [("text", pa.string()), ("title", pa.string())] + ([("image", pa.binary())] if kind == "pictures" else [])
    with pq.ParquetWriter(path, pa.schema(fields)) as writer:
        for start in range(0, num_rows, ROWS_PER_GROUP):
            numbers = range(start, min(start + ROWS_PER_GROUP, num_rows))
            columns: dict[str, list] = {
                "text": [make_text(number) for number in numbers],
                "title": [f"Village {number}" for number in numbers],
            }
            if kind == "pictures":
                columns["image"] = [_make_picture(number) for number in numbers]
            writer.write_table(pa.table(columns, schema=pa.schema(fields)))


def make_text(number: int) -> str:
    """Return a text of its own for each number."""
    return (
        f"Village {number} lies {number % 977} kilometres north of the river and has {number % 7919} inhabitants. "
        f"Its market was first held in {1200 + number % 800}, and its church is {20 + number % 80} metres high."
    )


def _make_picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG")
    return written.getvalue()


@contextmanager
def _follow_peak(every_seconds: float = 0.5) -> Iterator[list[float]]:
    """Yield a list whose only element is the peak of the unshared memory of this process and its workers, in bytes."""
    peak, ended = [0.0], threading.Event()

    def follow() -> None:
        while not ended.wait(every_seconds):
            held = 0
            for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
                try:
                    held += process.memory_full_info().uss
                except psutil.Error:
                    continue  # the process has ended in the meantime
            peak[0] = max(peak[0], held)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield peak
    finally:
        ended.set()
        follower.join()


def ingest_once(kind: str, num_rows: int) -> dict[str, float]:
    """Make the rows, then ingest them on two workers and measure only the ingestion."""
    with tempfile.TemporaryDirectory(prefix="comem-ingest-") as name:
        root = Path(name)
        make_corpus(root / "rows.parquet", kind, num_rows)
        context = replace(Context.from_environment(), root=root, store=root / "store", num_actors=2)
        context = replace(context, warehouse=root / "warehouse.duckdb")
        images = "optional" if kind == "text" else "needed"
        recipe = with_knowledge(find_recipe("tiny_cpu"), str(root / "rows.parquet"), reading={"images": images})
        run = Run(run_id="measured", recipe_name=recipe.name, context=context, recipe=recipe, backbone=NO_BACKBONE)
        with join_ray(context), _follow_peak() as peak:
            started = time.perf_counter()
            made = ingest_knowledge.fn(run)
            seconds = time.perf_counter() - started
        assert made.num_rows == num_rows, f"{made.num_rows} items of {num_rows} rows"
        return {"seconds": seconds, "rows_per_s": num_rows / seconds, "peak_memory_gb": peak[0] / 1e9}


def main() -> None:
    """Ingest once, and print seconds and peak memory as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("num_rows", type=int)
    given = parser.parse_args()
    print(json.dumps(ingest_once(given.kind, given.num_rows)))


if __name__ == "__main__":
    main()
