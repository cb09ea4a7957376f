"""Reads the bank that a run made: Parquet shards with one row an item.

Shapes: N items, M vectors of an item, D width.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from comem_core.memory.bank import Bank
from comem_core.serving.layout import ITEM_ID, MEMORY, SHARDS


def read_stored_bank(folder: Path, *, encoder_id: str, dtype: torch.dtype = torch.float32) -> Bank:
    """Load a bank's shards into memory, as a bank of `encoder_id` that is searched by an index beside it.

    Raises:
        ValueError: there is no entry, items have different numbers of vectors, or a vector holds a number that is not
            finite; the message names items.
    """
    bank: Bank | None = None
    for path in sorted(folder.glob(SHARDS)):
        table = pq.read_table(path, columns=[ITEM_ID, *MEMORY])
        if not table.num_rows:
            continue
        counts = set(table["num_vectors"].to_pylist())
        raw_N = table["memory"].to_pylist()
        if len(counts) > 1 or len({len(raw) for raw in raw_N}) > 1:
            raise ValueError(f"{path} holds memories of different sizes; run the stage that made the bank again")
        shape = (len(raw_N), counts.pop(), -1)
        memory_NMD = torch.from_numpy(np.frombuffer(b"".join(raw_N), dtype="<f4").reshape(shape).copy())
        if bank is None:
            bank = Bank(encoder_id=encoder_id, num_vectors=shape[1], width=memory_NMD.shape[2], dtype=dtype)
        bank.put(table[ITEM_ID].to_pylist(), memory_NMD)
    if bank is None:
        raise ValueError(f"the bank in {folder} has no entry; run rebuild-memory again")
    return bank
