"""Measures filtering and lineage of a million drafts: seconds, peak memory, and how much longer pandas takes.

Each filtering runs in its own process, so that its peak memory is its own. `python -m warehouse.measures.filters`
prints the measures as JSON. Owns what is measured; million_rows makes the rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from warehouse.measures.filters_in_pandas import filter_in_pandas
from warehouse.measures.lineage_lookups import make_warehouse, measure_lookup_milliseconds
from warehouse.measures.million_rows import find_rows, make_rows, set_all_filters
from warehouse.samples.filtering import list_kept_samples, run_filters

NUM_DRAFTS = 1_000_000
WAYS = ("sql", "pandas")


def measure(num_drafts: int = NUM_DRAFTS, *, in_pandas: bool = True) -> dict[str, float]:
    """Return the measures by name; `in_pandas=False` leaves out the comparison, which takes minutes.

    Needs about a gigabyte in the temporary directory. ValueError if SQL and pandas give different numbers of drops.
    """
    with tempfile.TemporaryDirectory(prefix="comem-million-") as name:
        folder = Path(name)
        rows = make_rows(folder, num_drafts, traced=True)
        by_sql = _filter_in_process("sql", folder, num_drafts)
        found = {"filter_1m_seconds": by_sql["seconds"], "filter_1m_peak_memory_gb": by_sql["peak_memory_gb"]}
        if in_pandas:
            other = _filter_in_process("pandas", folder, num_drafts)
            if other["num_drops"] != by_sql["num_drops"]:
                raise ValueError(f"SQL gives {by_sql['num_drops']:.0f} drops, but pandas {other['num_drops']:.0f}")
            found["filter_vs_pandas_ratio"] = other["seconds"] / by_sql["seconds"]
            found["filter_pandas_peak_memory_gb"] = other["peak_memory_gb"]
        database, found["load_seconds"] = make_warehouse(folder, rows, num_drafts)
        found["warehouse_gb"] = database.stat().st_size / 1e9
        lookups = measure_lookup_milliseconds(database)
        found["lineage_lookup_ms"] = max(lookups.values())
        return found | {f"lineage_lookup_ms of {kind}": value for kind, value in lookups.items()}


def _filter_in_process(way: str, folder: Path, num_drafts: int) -> dict[str, float]:
    command = [sys.executable, "-m", "warehouse.measures.filters", "--num-drafts", str(num_drafts)]
    said = subprocess.run([*command, way, str(folder)], capture_output=True, text=True)
    if said.returncode:
        raise ValueError(f"filtering by {way} failed: {said.stderr.strip()[-2000:]}")
    return json.loads(said.stdout.splitlines()[-1])


def filter_once(way: str, folder: Path, num_drafts: int) -> dict[str, float]:
    """Filter the rows in `folder` with `sql` or `pandas`; return seconds, peak memory (GB) and the number of drops."""
    sources, parameters = find_rows(folder).list_sources(), set_all_filters(num_drafts)
    started = time.perf_counter()
    if way == "sql":
        drops = run_filters(**sources, parameters=parameters)
        list_kept_samples(drafts=sources["drafts"], drops=drops)
    else:
        drops = filter_in_pandas(**sources, parameters=parameters)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_memory_gb": read_peak_bytes() / 1e9, "num_drops": len(drops)}


def read_peak_bytes() -> int:
    """Return the highest resident size of this process; Linux only."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main() -> None:
    """Measure everything, or filter only once (for a process of its own)."""
    parser = argparse.ArgumentParser(prog="python -m warehouse.measures.filters", description=__doc__)
    parser.add_argument("--num-drafts", type=int, default=NUM_DRAFTS)
    parser.add_argument("--no-pandas", action="store_true", help="leave out the comparison with pandas")
    parser.add_argument("way", choices=WAYS, nargs="?", help="filter once, in this way")
    parser.add_argument("folder", type=Path, nargs="?", help="the folder of the rows to filter once")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(filter_once(options.way, options.folder, options.num_drafts)))
    else:
        print(json.dumps(measure(options.num_drafts, in_pandas=not options.no_pandas), indent=2))


if __name__ == "__main__":
    main()
