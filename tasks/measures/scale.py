"""`make bench-scale`: measures ingestion, index, bank, filters and lineage at a million, for docs/results/scale.json.

`--only` measures one part again and keeps the other results; `changing` takes a tenth of the rows, `faiss` a quarter.
`--against FOLDER` compares the speed of ingestion with that of an earlier checkout, which has a `.venv` of its own.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import faiss

from comem_core.measures.provenance import describe_machine
from comem_core.measures.results import Measured
from comem_core.measures.scale_index import measure_beside_faiss, measure_index
from comem_core.measures.tables import record_rows
from tasks.measures.bank_scale import SMALL, measure_bank
from tasks.measures.changing import NUM, measure_changing
from tasks.measures.growth import measure_growth
from tasks.measures.ingesting import measure_against, measure_ingest
from warehouse.measures import filters

TOPIC, COMMAND = "scale", "make bench-scale"
MILLION, WIDTH, NUM_QUERIES, FAISS_QUERIES = 1_000_000, 512, 200, 2000
GROWTH = "exponent of rows"
UNITS = {
    "_per_s": "rows/s",
    "_gb": "GB",
    "_seconds": "s",
    "_ms": "ms",
    "_again_ratio": "again / first",
    "_run_ratio": "again / first",
    "_ratio": "pandas / SQL",
    "_vs_exact": "exact / index",
    "_vs_faiss_recall": "share",
    "_vs_faiss": "queries / queries of FAISS",
    "_vs_today": "rows / rows of the earlier commit",
    "_bytes": "bytes",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write `docs/results/scale.json`."""
    parser = argparse.ArgumentParser(prog="make bench-scale ARGS=...", description=main.__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--only", choices=PARTS, help="measure only these results and keep the others")
    what.add_argument("--against", type=Path, help="a checkout of an earlier commit: compare ingestion with it alone")
    parser.add_argument("--num", type=int, default=MILLION, help="rows, vectors and drafts (default: a million)")
    given = parser.parse_args(arguments)
    parts = PARTS if given.against is None else {"against": partial(measure_against, given.against.resolve())}
    for name, measure in parts.items():
        if given.only in (None, name):
            command = _write_command(given.num, given.against)
            found = measure(given.num)
            num = int(found.pop(NUM, given.num))
            rows = [_make_row(measured, value, num, command) for measured, value in found.items()]
            for row in rows:
                print(f"{row.measure:>36}  {row.value:g} {row.unit}", flush=True)
            record_rows(TOPIC, rows)


def _measure_ingest(num: int) -> dict[str, float]:
    text, pictures = measure_ingest("text", num), measure_ingest("pictures", num)
    tenth = measure_ingest("pictures", num // 10)
    return {
        "ingest_text_rows_per_s": text["rows_per_s"],
        "ingest_text_peak_memory_gb": text["peak_memory_gb"],
        "ingest_picture_rows_per_s": pictures["rows_per_s"],
        "ingest_peak_memory_gb": pictures["peak_memory_gb"],
        "ingest_tenth_peak_memory_gb": tenth["peak_memory_gb"],
    }


def _measure_index(num: int) -> dict[str, float]:
    faiss.omp_set_num_threads(1)
    return measure_index(num, WIDTH, NUM_QUERIES, 0)


def _measure_beside_faiss(num: int) -> dict[str, float]:
    faiss.omp_set_num_threads(1)
    return {NUM: num // 4, **measure_beside_faiss(num // 4, WIDTH, FAISS_QUERIES, 0)}


def _measure_filters(num: int) -> dict[str, float]:
    return {name.replace(" ", "_"): value for name, value in filters.measure(num).items()}


def _measure_growth(num: int) -> dict[str, float]:
    faiss.omp_set_num_threads(1)
    return measure_growth(num)


PARTS: Mapping[str, Callable[[int], dict[str, float]]] = {
    "bank": measure_bank,
    "changing": lambda num: measure_changing(num // 10),
    "faiss": _measure_beside_faiss,
    "filters": _measure_filters,
    "growth": _measure_growth,
    "index": _measure_index,
    "ingest": _measure_ingest,
}


def _write_command(num: int, against: Path | None) -> str:
    options = ([f"--num {num}"] if num != MILLION else []) + (["--against FOLDER"] if against else [])
    return f'{COMMAND} ARGS="{" ".join(options)}"' if options else COMMAND


def _make_row(measure: str, value: float, num: int, command: str) -> Measured:
    unit = next((unit for ending, unit in UNITS.items() if measure.endswith(ending) or f"{ending}_" in measure), "")
    if measure.startswith("growth_"):
        unit = GROWTH
    return Measured(
        measure=measure,
        recipe="made rows",
        value=float(f"{value:.4g}"),
        unit=unit or "share",
        n=SMALL if measure.endswith("_1k") else num,
        command=command,
        machine=describe_machine(),
    )


if __name__ == "__main__":
    main()
