"""Encoding: turns every knowledge item into memory once; the bank holds memories by item id."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial as bind
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.memory.bank import Bank, to_bytes
from comem_core.prompts import read_prompt_set
from comem_core.serving.layout import BANK_STAGE, MEMORY
from comem_core.serving.stored_bank import read_stored_bank
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.models import load_trained_encoder
from tasks.rows.tables import read_items
from tasks.run import Run
from warehouse.schemas import check_rows

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
        make_shards("encode-memory", run.context, artefact, units, bind(_encoder, run, knowledge, encoder))

    part = BankKey(prompts_sha256=read_prompt_set(run.recipe.training.encoder.prompts).sha256)
    inputs = {"backbone": run.backbone, "knowledge": knowledge, "encoder": encoder}
    return run_stage(run, BANK, part, inputs, make, expects=knowledge.num_rows)


def _encoder(run: Run, knowledge: Reference, encoder: Reference) -> Work:
    trained, items = load_trained_encoder(run, encoder), read_items(knowledge).rows

    def work(batch: Sequence[int]) -> pa.Table:
        started = time.perf_counter()
        chosen = [items[row] for row in batch]
        memory_BMD = trained.encode_batch(chosen)
        seconds = (time.perf_counter() - started) / max(1, len(batch))
        rows = [
            {
                "item_id": item.item_id,
                "row": row,
                "seconds": seconds,
                "memory": to_bytes(memory_MD),
                "num_vectors": len(memory_MD),
            }
            for row, item, memory_MD in zip(batch, chosen, memory_BMD, strict=True)
        ]
        return check_rows("bank_entry", rows, extra=MEMORY)

    return work


def read_encode_seconds(reference: Reference) -> dict[str, float]:
    """Return by item id the seconds that encoding took (an equal share of the batch's time)."""
    tables = [
        pq.read_table(path, columns=["item_id", "seconds"]) for path in Path(reference.uri).glob("part-*.parquet")
    ]
    return {row["item_id"]: row["seconds"] for table in tables for row in table.to_pylist()}


def read_bank(reference: Reference, *, encoder: Reference) -> Bank:
    """Load a bank's shards into memory."""
    return read_stored_bank(reference.folder, encoder_id=encoder.fingerprint)
