"""The measures of filtering and lineage come out whole, on few rows."""

from __future__ import annotations

from warehouse.measures.filters import measure


def test_the_named_measures_come_out() -> None:
    found = measure(3000)
    named = ("filter_1m_seconds", "filter_1m_peak_memory_gb", "filter_vs_pandas_ratio", "lineage_lookup_ms")
    assert all(found[name] > 0 for name in named)
    assert found["filter_1m_peak_memory_gb"] < 4
    assert found["lineage_lookup_ms"] == max(value for name, value in found.items() if " of " in name)
