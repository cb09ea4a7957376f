"""The runs that faults are tried on: of the demo's shape, but small.

`python -m flows.faults.running '[PARAMETERS, ...]'` runs them. Several are run one after the other on one Ray, which is
how unbroken ones are made quickly.
"""

import contextlib
import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comem_core.terminal import guard_output
from comem_core.worlds.countries.world import load_knowledge_items
from flows.checking import check_parameters
from flows.synth_and_train import synth_and_train
from tasks.engine.context import Context
from tasks.engine.on_ray import join_ray

NUM_ITEMS, NUM_ASKED, LIMIT = 24, 12, 8
ROUNDS_OF_A_CORPUS = 4
LICENCE = "ODbL-1.0"


def make_parameters(folder: Path, number: int) -> dict[str, Any]:
    """Return the parameters of the run of a round: each has an encoder of its own, and some of them a corpus."""
    corpus = write_corpus(folder / f"corpus-{number // ROUNDS_OF_A_CORPUS:03d}", number // ROUNDS_OF_A_CORPUS)
    knowledge = {"corpus": str(corpus), "licence": LICENCE, "language": "en"}
    return {"seed": number, "knowledge": knowledge, "writing": {"ask_about": NUM_ASKED}, "limit": LIMIT}


def write_corpus(folder: Path, seed: int) -> Path:
    """Write some countries as pictures with texts beside them, unless they are there, and return the folder."""
    if folder.exists():
        return folder
    unfinished = folder.with_suffix(".tmp")
    unfinished.mkdir(parents=True, exist_ok=True)
    english = [item for item in load_knowledge_items() if item.language == "en"]
    for item in random.Random(seed).sample(english, NUM_ITEMS):
        (unfinished / f"{item.entity_id}.png").write_bytes(item.picture)
        (unfinished / f"{item.entity_id}.txt").write_text(item.text, encoding="utf-8")
    return unfinished.rename(folder)


def run_all(runs: list[Mapping[str, Any]]) -> None:
    """Run them one after the other; a single one starts its own Ray, as a run of a user does."""
    with join_ray(Context.from_environment()) if len(runs) > 1 else contextlib.nullcontext():
        for parameters in runs:
            synth_and_train(**check_parameters(synth_and_train, dict(parameters)))


if __name__ == "__main__":
    guard_output()
    run_all(json.loads(sys.argv[1]))
