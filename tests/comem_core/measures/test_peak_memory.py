"""The peak of a process, and that the two layouts differ by exactly one copy of the backbone."""

import numpy as np
import pytest

from comem_core.measures.peak_memory import measure_peaks
from comem_core.tracking.peaks import read_peak_bytes


def test_the_peak_of_a_process_grows_with_what_it_holds_and_stays_when_that_is_gone():
    before = read_peak_bytes()
    held = np.ones(before // 8 + 25_000_000)  # every page is written
    while_held = read_peak_bytes()
    assert while_held > before + 150_000_000
    del held
    assert read_peak_bytes() > while_held - 10_000_000  # the kernel counts in batches


@pytest.mark.slow
def test_two_copies_take_one_backbone_more_than_one_copy():
    peaks = measure_peaks()
    assert peaks.two_copies - peaks.one_copy == pytest.approx(peaks.weights, rel=0.15)
