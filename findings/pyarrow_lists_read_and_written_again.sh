#!/usr/bin/env bash
# pyarrow 26.0.1: a table with a list column that was read from Parquet is written again as another file.
#
# A program that resumes reads its finished rows and writes them beside new ones, and tells by a hash whether a file is as
# it was. pyarrow names the entries of a list type `item` where it makes them. It writes `element` into the Parquet schema
# and `item` into the Arrow schema that it stores beside it; reading gives `element` all the same. Types compare as equal
# (`==`) whatever the name, so nothing tells. The second file stores an Arrow schema with the other name: the same rows and
# options give other bytes. Casting to a schema with the first name gives the first file's bytes again.
# Seen: `list<item: string>` before, `list<element: string>` after, equal types, different bytes. The script fails when the
# second file has the bytes of the first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1
cd "$folder"
venv/bin/python --version
venv/bin/python - <<'PYTHON'
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write(table, name):
    pq.write_table(table, name, compression="zstd")
    return Path(name).read_bytes()


made = pa.table({"question": ["which valve"], "item_ids": pa.array([["a", "b"]], pa.list_(pa.string()))})
first = write(made, "first.parquet")
read = pq.read_table("first.parquet")
second = write(read, "second.parquet")
third = write(read.cast(made.schema), "third.parquet")

print(f"pyarrow {pa.__version__}")
print(f"made {made.schema.field('item_ids').type}, read {read.schema.field('item_ids').type}")
print(f"equal types: {made.schema.equals(read.schema)}, with metadata: {made.schema.equals(read.schema, check_metadata=True)}")
print(f"the same bytes: {first == second}; after a cast to the first schema: {first == third}")
assert made.schema.equals(read.schema) and made.equals(read)
assert str(read.schema.field("item_ids").type) == "list<element: string>", "the name of the entries came back"
assert first != second, "the second file is the first"
assert first == third
PYTHON
