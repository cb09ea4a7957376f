"""The SQL and the same filters in pandas drop the same drafts, for the same reasons and values."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from warehouse.measures.filters_in_pandas import filter_in_pandas
from warehouse.measures.million_rows import make_rows, set_all_filters
from warehouse.samples.filtering import FILTERS, filter_parameters, run_filters
from warehouse.schemas import make_schema

NUM_DRAFTS = 20_000


def test_sql_and_pandas_agree_on_every_filter(tmp_path: Path) -> None:
    parameters = set_all_filters(NUM_DRAFTS)
    needed = set().union(*filter_parameters().values())
    assert parameters.keys() == needed, "give each parameter in set_all_filters (warehouse/measures/million_rows.py)"
    rows = make_rows(tmp_path, NUM_DRAFTS)
    assert pq.read_schema(rows.shards["draft"][0]).names == make_schema("draft").names
    by_sql = run_filters(**rows.list_sources(), parameters=parameters).to_pandas()
    in_pandas = filter_in_pandas(**rows.list_sources(), parameters=parameters)
    pd.testing.assert_frame_equal(by_sql, in_pandas.astype({"value": float}))
    counts = by_sql["reason"].value_counts()
    assert set(counts.index) == set(FILTERS)
    assert counts["duplicate"] > 100 and counts["near_duplicate"] > 50
