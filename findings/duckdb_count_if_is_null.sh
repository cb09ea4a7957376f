#!/usr/bin/env bash
# duckdb 2.0.0: `count_if` is null, not 0, where its condition is null in every row, or where there is no row.
#
# No form of `count` returns null: `count(x)` of only nulls is 0, and `count(*) FILTER (x = 1)` is 0. `count_if(x = 1)`
# is a sum in disguise: 0 where one row is false, and null where all rows are null or there are none. A share such as
# `count_if(place = 1) / count(*)` is then null instead of 0, exactly where nothing was found.
# Seen: (None, 0, 0) for two nulls and for no rows. The script fails when `count_if` returns 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check duckdb==2.0.0
cd "$folder"
venv/bin/python --version
venv/bin/python - <<'PYTHON'
import duckdb

con = duckdb.connect()
counts = "count_if(x = 1), count(*) FILTER (x = 1), count(x)"
nulls = con.execute(f"SELECT {counts} FROM (VALUES (NULL::INT), (NULL)) AS t(x)").fetchone()
mixed = con.execute(f"SELECT {counts} FROM (VALUES (NULL::INT), (2)) AS t(x)").fetchone()
none = con.execute(f"SELECT {counts} FROM (SELECT 1 AS x WHERE false) AS t").fetchone()
print(f"duckdb {duckdb.__version__}: count_if, count FILTER, count")
print(f"of two nulls {nulls}; of a null and a 2 {mixed}; of no rows {none}")
assert nulls == none == (None, 0, 0), "count_if of nulls, or of no rows, is a number"
PYTHON
