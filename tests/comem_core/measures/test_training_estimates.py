"""A training's estimated memory is near the peak of the process that trains."""

import sys
from pathlib import Path

import pytest

from comem_core.measures.peak_memory import save_large_model
from comem_core.measures.training.estimates import compare_with_estimates


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can begin a process's peak anew")
def test_the_peak_of_a_training_is_within_15_percent_of_its_estimate(tmp_path: Path):
    save_large_model(tmp_path)
    for found in compare_with_estimates(str(tmp_path)):
        assert 0.85 < found.handed_back / found.estimated < 1.15, found
