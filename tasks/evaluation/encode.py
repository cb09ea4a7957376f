"""Encoding: turns every knowledge item into memory once; the bank holds memories by item id."""

from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

import pyarrow.parquet as pq

from comem_core.prompts import read_prompt_set
from comem_core.serving.layout import BANK_STAGE
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.run import Run

BANK = Stage(name=BANK_STAGE, version="2", table="bank_entry")


@dataclass(frozen=True, kw_only=True)
class BankKey:
    """What decides a memory besides the encoder and the items: the prompt with which an item is read."""

    prompts_sha256: str
    dtype: str = "float32"


@stage_task(name="encode-memory")
def encode_memory(run: Run, knowledge: Reference, encoder: Reference) -> Reference:
    """Encode every item of the corpus with this encoder."""

    def make(artefact: Partial) -> None:
        units = range(knowledge.num_rows)
        make_shards("encode-memory", run.context, artefact, units, bind(_make_encoding, run, knowledge, encoder))

    key = BankKey(prompts_sha256=read_prompt_set(run.recipe.training.encoder.prompts).sha256)
    inputs = {"backbone": run.backbone, "knowledge": knowledge, "encoder": encoder}
    return run_stage(run, BANK, key, inputs, make, expects=knowledge.num_rows)


def _make_encoding(run: Run, knowledge: Reference, encoder: Reference) -> Work:
    """Enter a worker; only there torch is imported."""
    from tasks.evaluation.banks import make_encoding

    return make_encoding(run, knowledge, encoder)


def read_encode_seconds(reference: Reference) -> dict[str, float]:
    """Return by item id the seconds that encoding took (an equal share of the batch's time)."""
    tables = [
        pq.read_table(path, columns=["item_id", "seconds"]) for path in Path(reference.uri).glob("part-*.parquet")
    ]
    return {row["item_id"]: row["seconds"] for table in tables for row in table.to_pylist()}
