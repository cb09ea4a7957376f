"""Measures how costs grow with a corpus: the exponent of the seconds in the number of rows, over two tenfold steps.

1 means that twice the rows take twice as long; below it, part of the cost is the same for any number, such as starting
workers. Each size is made anew, from nothing.
"""

import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from comem_core.measures.scale_index import measure_index
from tasks.measures.bank_scale import DEFAULT, write_bank
from tasks.measures.ingesting import measure_ingest
from warehouse.measures import filters
from warehouse.measures.million_rows import make_rows

STEP = 10
WIDTH, NUM_QUERIES = 512, 10


def measure_growth(num: int) -> dict[str, float]:
    """Return the exponents of each cost, from a hundredth of `num` rows to a tenth, and from there to all of them."""
    found = {}
    for name, measure in COSTS.items():
        first, second, last = (measure(num // share) for share in (STEP * STEP, STEP, 1))
        found[f"growth_{name}_to_a_tenth"] = compute_exponent(first, second)
        found[f"growth_{name}_to_all"] = compute_exponent(second, last)
    return found


def compute_exponent(before: float, after: float) -> float:
    """Return x for seconds that grow with n to the power of x, measured at n and at `STEP` times n."""
    return math.log(after / before, STEP)


def _measure_index(num: int) -> float:
    found = measure_index(num, WIDTH, NUM_QUERIES, 0)
    return found["index_write_seconds"] + found["index_build_seconds"]


def _measure_bank(num: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        write_bank(Path(name) / "bank", num, DEFAULT)
        return time.perf_counter() - started


def _measure_filters(num: int) -> float:
    with tempfile.TemporaryDirectory(prefix="comem-growth-") as name:
        make_rows(Path(name), num)
        return filters.filter_once("sql", Path(name), num)["seconds"]


COSTS: Mapping[str, Callable[[int], float]] = {
    "ingest_text": lambda num: measure_ingest("text", num)["seconds"],
    "ingest_pictures": lambda num: measure_ingest("pictures", num)["seconds"],
    "index": _measure_index,
    "bank": _measure_bank,
    "filters": _measure_filters,
}
"""The seconds of each part for a number of rows."""
