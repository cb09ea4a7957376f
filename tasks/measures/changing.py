"""Measures what a corpus costs that changed a little: items, index and bank after one per cent was added.

`python -m tasks.measures.changing FOLDER` makes them once, in its own process, and prints the seconds of each stage.
The corpus is a folder of pictures with texts beside them, the encoder the shipped one. Starting Ray counts.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from comem_core.measures.training.processes import run_elsewhere
from comem_core.recipes import find_recipe, with_knowledge
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.engine.context import Context
from tasks.engine.on_ray import join_ray
from tasks.engine.store import Reference
from tasks.measures.ingesting import make_text
from tasks.memory.encode import encode_memory
from tasks.run import Run
from tasks.sources import find_backbone
from tasks.training.encoders import find_encoders

CORPUS, SIDE, ADDED, FILES_OF_A_FOLDER = "corpus", 64, 100, 1000
WHOLE, NUM = "whole", "n"
"""The seconds of a whole process; and the number of items, where a measure has another than its command."""


def measure_changing(num: int) -> dict[str, float]:
    """Make items, index and bank of `num` pictures, add one per cent, and make them again in a new process."""
    with tempfile.TemporaryDirectory(prefix="comem-changing-") as name:
        root = Path(name)
        write_pictures(root / CORPUS, range(num))
        first = _make_elsewhere(root)
        write_pictures(root / CORPUS, range(num, num + num // ADDED))
        again = _make_elsewhere(root)
    return {
        NUM: num,
        "first_run_seconds": first[WHOLE],
        "incremental_run_seconds": again[WHOLE],
        "incremental_run_ratio": again[WHOLE] / first[WHOLE],
        **{f"{stage}_again_ratio": again[stage] / first[stage] for stage in first if stage != WHOLE},
    }


def write_pictures(folder: Path, numbers: Sequence[int]) -> None:
    """Write a picture of noise and a text for each number, a thousand to a folder."""
    for number in numbers:
        place = folder / f"{number // FILES_OF_A_FOLDER:04d}" / f"{number:07d}"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((SIDE, SIDE)).save(place.with_suffix(".jpg"))
        place.with_suffix(".txt").write_text(make_text(number), encoding="utf-8")


def _make_elsewhere(root: Path) -> dict[str, float]:
    started = time.perf_counter()
    return run_elsewhere("tasks.measures.changing", str(root)) | {WHOLE: time.perf_counter() - started}


def make_bank(root: Path) -> dict[str, float]:
    """Make items, index and bank of the corpus in `root`, in a store beside it; return the seconds of each stage."""
    context = replace(Context.from_environment(), root=root, store=root / "store", num_actors=2)
    context = replace(context, warehouse=root / "warehouse.duckdb")
    recipe = with_knowledge(find_recipe("tiny_cpu"), str(root / CORPUS), reading={"language": "en"})
    backbone = find_backbone(recipe.backbone)
    run = Run(run_id="measured", recipe_name=recipe.name, context=context, recipe=recipe, backbone=backbone)
    seconds: dict[str, float] = {}
    with join_ray(context):
        [named] = find_encoders.fn(run, ["tiny-encoder"])
        items = _time(seconds, "items", lambda: ingest_knowledge.fn(run))
        _time(seconds, "index", lambda: build_index.fn(run, items))
        bank = _time(seconds, "bank", lambda: encode_memory.fn(run, items, named.encoder))
    assert bank.num_rows == items.num_rows, f"{bank.num_rows} memories of {items.num_rows} items"
    return seconds


def _time(seconds: dict[str, float], name: str, make: Callable[[], Reference]) -> Reference:
    started = time.perf_counter()
    made = make()
    seconds[name] = time.perf_counter() - started
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(json.dumps(make_bank(parser.parse_args().folder)))
