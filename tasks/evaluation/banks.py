"""Makes memories in a worker, and reads those of a bank. Only workers import this module: it needs torch."""

import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.memory.bank import Bank, from_bytes, to_bytes
from tasks.engine.shards import Work
from tasks.engine.store import Reference
from tasks.models import load_trained_encoder
from tasks.rows.tables import read_items
from tasks.run import Run
from warehouse.schemas import check_rows

MEMORY = {"memory": pa.binary(), "num_vectors": pa.int32()}


def make_encoding(run: Run, knowledge: Reference, encoder: Reference) -> Work:
    """Return the work of encoding rows of the corpus, with the encoder loaded."""
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


def read_bank(reference: Reference, *, encoder: Reference) -> Bank:
    """Load a bank's shards into memory."""
    bank: Bank | None = None
    for path in sorted(Path(reference.uri).glob("part-*.parquet")):
        for row in pq.read_table(path).to_pylist():
            memory_MD = from_bytes(row["memory"], num_vectors=row["num_vectors"])
            if bank is None:
                bank = Bank(encoder_id=encoder.fingerprint, num_vectors=len(memory_MD), width=memory_MD.shape[1])
            bank.put([row["item_id"]], memory_MD[None])
    assert bank is not None, f"bank {reference.fingerprint} has no entry"
    return bank
