"""Makes memories in a worker, and reads those of a bank. Only workers import this module: it needs torch."""

import time
from collections.abc import Sequence

import pyarrow as pa

from comem_core.memory.bank import Bank, to_bytes
from comem_core.serving.layout import MEMORY
from comem_core.serving.stored_bank import read_stored_bank
from tasks.engine.shards import Work
from tasks.engine.store import Reference
from tasks.models import load_trained_encoder
from tasks.rows.tables import read_items
from tasks.run import Run
from warehouse.schemas import check_rows


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
    return read_stored_bank(reference.folder, encoder_id=encoder.fingerprint)
