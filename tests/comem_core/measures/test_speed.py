"""What `make bench` writes about speed."""

from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.measures import speed
from comem_core.measures.results import Measured, read_results, write_results


@pytest.mark.slow
def test_speed_is_measured_and_written_beside_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    memory = Measured(
        measure="peak_memory_one_copy_gb", recipe="tiny_cpu", value=1.0, unit="GB", n=3, command="make bench"
    )
    path = write_results("speed", [memory, replace(memory, measure="ttft_ratio_k3")])
    before = read_results(path)
    speed.main(["--only", "speed"])
    rows = {row["measure"]: row for row in read_results(path)}
    assert list(rows)[:2] == ["peak_memory_one_copy_gb", "ttft_ratio_k3"]
    assert rows["peak_memory_one_copy_gb"] == before[0]
    assert rows["encode_items_per_s"]["value"] > 0
    assert 1 < rows["ttft_ratio_k3"]["value"] < rows["ttft_ratio_k50"]["value"]
    assert rows["ttft_ratio_k3"]["machine"].endswith("1 torch thread")
