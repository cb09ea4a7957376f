"""What `make bench` writes about speed."""

from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.knowledge.items import KnowledgeItem
from comem_core.measures import reading, speed
from comem_core.measures.results import Measured, read_results, write_results
from comem_core.memory.encoder import MemoryEncoder
from comem_core.worlds.countries.world import load_knowledge_items


def test_an_item_of_a_length_is_filled_with_the_texts_of_others(shipped_encoder: MemoryEncoder):
    english = [item for item in load_knowledge_items() if item.language == "en"][:4]
    before = [_turn_length(shipped_encoder, item) for item in english]
    for item, own, made in zip(english, before, reading.lengthen_items(shipped_encoder, english, 120), strict=True):
        assert own < 120 <= _turn_length(shipped_encoder, made) < 125
        assert made.text.startswith(item.text) and made.image == item.image
    with pytest.raises(ValueError, match="these 4 items hold fewer than 900 tokens"):
        reading.lengthen_items(shipped_encoder, english, 900)


def _turn_length(encoder: MemoryEncoder, item: KnowledgeItem) -> int:
    return int(encoder.backbone.tokenize([[encoder.prompts.make_item_turn(item)]], generation=False).mask_BL.sum())


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
    assert "1 torch thread, load " in rows["ttft_ratio_k3"]["machine"]
