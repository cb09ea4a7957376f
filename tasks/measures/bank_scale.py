"""Measures a large bank: opening it, reading ten items of it, the memory of who reads, and adding items to it.

The memories are synthetic and of the shipped encoder's shape. A new process opens and reads, so that its memory counts.

Shapes: N items, M vectors of an item, D width.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import torch

from comem_core.knowledge.index.ids import encode_ids
from comem_core.measures.training.processes import run_elsewhere
from comem_core.memory.bank import Bank
from comem_core.memory.bank_files.layout import SHARD_BYTES, BankDescription, Contents, write_state
from comem_core.memory.bank_files.number_types import NUMBER_TYPES, pack
from comem_core.memory.bank_files.reading import write_shard

M, D = 8, 128
SMALL, K, NUM_READS, NUM_READ_IN_ALL, NUM_PUT = 1000, 10, 300, 10_000, 1000
MEASURED = ("float32", "bfloat16", "int8")
DEFAULT = "int8"


def measure_bank(num: int) -> dict[str, float]:
    """Measure a bank of `num` items in each number type; the plain names are those of the default, 8 bit."""
    found: dict[str, float] = {}
    for number_type in MEASURED:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "bank"
            write_bank(folder, num, number_type)
            found[f"bank_bytes_per_item_{number_type}"] = sum(_list_sizes(folder)) / num
            read = _read_elsewhere(folder)
            if number_type == DEFAULT:
                found |= read
                found["bank_put_1000_seconds"] = _measure_put(folder)
                write_bank(Path(name) / "small", SMALL, number_type)
                found["bank_open_ms_1k"] = _read_elsewhere(Path(name) / "small")["bank_open_ms_1m"]
            else:
                found[f"bank_read10_ms_1m_{number_type}"] = read["bank_read10_ms_1m"]
    return found


def write_bank(folder: Path, num: int, number_type: str) -> None:
    """Write a bank of random memories, shard by shard."""
    folder.mkdir()
    description = BankDescription(encoder_id="measured", num_vectors=M, width=D, number_type=number_type)
    rows = SHARD_BYTES // description.item_bytes
    generator = torch.Generator().manual_seed(0)
    shards, ids = [], []
    for number, start in enumerate(range(0, num, rows)):
        size = min(rows, num - start)
        packed = pack(torch.randn(size, M, D, generator=generator), NUMBER_TYPES[number_type])
        shards.append(write_shard(folder / f"memory-{number}.safetensors", packed, encoder_id="measured"))
        ids.append(encode_ids([name_item(each) for each in range(start, start + size)]))
    write_state(folder, description, Contents.of(shards, ids))


def name_item(number: int) -> str:
    """Return an id as items have it, in an order that is not that of numbers."""
    return f"{(number * 0x9E3779B97F4A7C15) % 2**64:016x}"


def _list_sizes(folder: Path) -> Iterator[int]:
    return (path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read_elsewhere(folder: Path) -> dict[str, float]:
    """Open and read in a new process."""
    return run_elsewhere("tasks.measures.bank_scale", str(folder))


def _measure_put(folder: Path) -> float:
    bank, started = Bank.load(folder), time.perf_counter()
    bank.put([f"new item {number}" for number in range(NUM_PUT)], torch.randn(NUM_PUT, M, D))
    bank.save(folder)
    return time.perf_counter() - started


def read_bank(folder: Path) -> dict[str, float]:
    """Measure opening, reading ten items, and how much larger this process is after reading ten thousand.

    Pages of the mapped files are counted apart: processes share them, and the system takes them back when it needs to.
    """
    torch.set_num_threads(1)
    bank, generator = Bank.load(folder), np.random.default_rng(0)
    num, before = len(bank), psutil.Process().memory_info()
    opening, reading = [], []
    for _ in range(20):
        started = time.perf_counter()
        bank = Bank.load(folder)
        opening.append(time.perf_counter() - started)
    for _ in range(NUM_READS):
        item_ids = [name_item(int(each)) for each in generator.integers(num, size=K)]
        started = time.perf_counter()
        bank.of(item_ids)
        reading.append(time.perf_counter() - started)
    for _ in range(NUM_READ_IN_ALL // K):
        bank.of([name_item(int(each)) for each in generator.integers(num, size=K)])
    after = psutil.Process().memory_info()
    mapped = after.shared - before.shared
    return {
        "bank_open_ms_1m": 1000 * statistics.median(opening),
        "bank_read10_ms_1m": 1000 * statistics.median(reading),
        "bank_memory_gb_1m": (after.rss - before.rss - mapped) / 1e9,
        "bank_mapped_gb_1m": mapped / 1e9,
    }


if __name__ == "__main__":
    print(json.dumps(read_bank(Path(sys.argv[1]))))
