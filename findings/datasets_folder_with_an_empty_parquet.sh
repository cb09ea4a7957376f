#!/usr/bin/env bash
# datasets 5.2.0: one Parquet file without rows makes a whole folder of good files unreadable.
#
# `pq.write_table` of a table without rows writes a valid file with one row group of zero rows; pandas, pyarrow and
# DuckDB read it. `load_dataset("parquet", data_dir=...)` takes its batch size from the first row group, and with zero it
# fails for the folder, also for the files that have rows. The same empty table written without a row group loads.
# Seen: ArrowInvalid, "BatchSize must be greater than 0". The script fails when the folder loads.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1
cd "$folder"
export HF_HOME="$folder/cache" HF_HUB_OFFLINE=1
venv/bin/python --version
venv/bin/python - <<'PYTHON'
import os

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

rows = pa.table({"text": ["a pump", "a valve"]})


def load(name, write_empty):
    os.mkdir(name)
    pq.write_table(rows, f"{name}/part-0.parquet")
    write_empty(f"{name}/part-1.parquet")
    assert pq.read_table(name).num_rows == 2
    try:
        return f"{datasets.load_dataset('parquet', data_dir=name, split='train').num_rows} rows"
    except Exception as error:
        cause = error.__cause__ or error
        return f"{type(cause).__name__}: {cause}"


def write_without_group(path):
    with pq.ParquetWriter(path, rows.schema):
        pass


with_group = load("group", lambda path: pq.write_table(rows.slice(0, 0), path))
without = load("bare", write_without_group)
print(f"datasets {datasets.__version__}, pyarrow {pa.__version__}")
print(f"an empty part with a row group: {with_group}; without one: {without}")
assert "BatchSize" in with_group, "the folder loads"
assert without == "2 rows"
PYTHON
