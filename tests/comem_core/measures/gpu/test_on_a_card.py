"""The GPU kit at the small shape on a card: run it before the whole kit, as it takes seconds."""

from pathlib import Path

import pytest
import torch

from comem_core.measures.gpu.cards import find_peak_flops, name_device
from comem_core.measures.gpu.command import main
from comem_core.measures.results import read_results


@pytest.mark.gpu
def test_the_small_shape_runs_on_a_card_with_the_memory_that_it_takes_there(tmp_path: Path):
    assert main(["--shape", "small", "--device", "cuda", "--folder", str(tmp_path)]) == 0
    rows = {row["measure"]: row for row in read_results(tmp_path / "gpu.json")}
    card = name_device(torch.device("cuda"))
    assert all(row["machine"].startswith(card) for row in rows.values())
    assert 0 < rows["train_peak_memory_gb"]["value"] <= rows["train_reserved_memory_gb"]["value"]
    assert rows["encode_peak_memory_gb"]["value"] > 0
    assert ("train_share_of_peak" in rows) == (find_peak_flops(card) is not None)
