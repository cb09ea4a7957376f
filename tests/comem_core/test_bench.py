"""What `make bench` writes, and that its two layouts differ by exactly one copy of the backbone."""

import json
from pathlib import Path

import numpy as np
import pytest

from comem_core import bench
from comem_core.peak_memory import measure_peaks, peak_bytes


def test_measured_rows_replace_stored_ones_and_leave_the_others_as_they_are():
    stored: list[bench.Row] = [{"measure": "a", "value": 1}, {"measure": "b", "value": 2}]
    assert bench.with_new_rows(stored, [{"measure": "c", "value": 3}, {"measure": "a", "value": 4}]) == [
        {"measure": "a", "value": 4},
        {"measure": "b", "value": 2},
        {"measure": "c", "value": 3},
    ]


def test_the_peak_of_a_process_grows_with_what_it_holds_and_stays_when_that_is_gone():
    before = peak_bytes()
    held = np.ones(before // 8 + 25_000_000)  # every page is written
    while_held = peak_bytes()
    assert while_held > before + 150_000_000
    del held
    assert peak_bytes() > while_held - 10_000_000  # the kernel counts in batches


@pytest.mark.slow
def test_two_copies_take_one_backbone_more_than_one_copy():
    peaks = measure_peaks()
    assert peaks.two_copies - peaks.one_copy == pytest.approx(peaks.weights, rel=0.15)


@pytest.mark.slow
def test_speed_is_measured_and_written_beside_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    bench.RESULTS.parent.mkdir(parents=True)
    bench.RESULTS.write_text(json.dumps([{"measure": "peak_memory_one_copy_gb", "value": 1}]))
    bench.main(["--only", "speed"])
    rows = {row["measure"]: row for row in json.loads(bench.RESULTS.read_text())}
    assert rows["peak_memory_one_copy_gb"] == {"measure": "peak_memory_one_copy_gb", "value": 1}
    assert rows["encode_items_per_s"]["value"] > 0
    assert 1 < rows["ttft_ratio_k3"]["value"] < rows["ttft_ratio_k50"]["value"]
