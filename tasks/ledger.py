"""What a stage that generates has cost: tokens, seconds and failures, summed over its shards and noted as measured."""

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.partial import Partial

SUMMED = ("prompt_tokens", "answer_tokens", "seconds")


def measure_cost(artefact: Partial) -> None:
    """Note the sums over all finished `part-*` shards; `seconds` are those of workers, added up."""
    sums = dict.fromkeys((*SUMMED, "rows", "failed"), 0.0)
    for path in sorted(artefact.folder.glob("part-*.parquet")):
        columns = pq.read_schema(path).names
        table = pq.read_table(path, columns=[name for name in (*SUMMED, "error") if name in columns])
        sums["rows"] += table.num_rows
        sums["failed"] += table.num_rows - table["error"].null_count if "error" in table.column_names else 0
        for name in SUMMED:
            sums[name] += pc.sum(table[name]).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]
    for name, value in sums.items():
        artefact.measure(name, round(value, 3) if name == "seconds" else int(value))
