"""A variant of a recipe, whole: an encoder of another shape is trained, read and told of in the reports."""

import json
from pathlib import Path

import pytest

from flows.synth_and_train import synth_and_train
from warehouse.connection import open_warehouse
from warehouse.sql import read_report_rows

LIMIT = 24


@pytest.mark.slow
def test_an_encoder_with_four_vectors_an_item_is_trained_from_nothing_and_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None, small_ray: None
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    monkeypatch.setenv("COMEM_ROWS_PER_SHARD", "32")
    synth_and_train(variant="vectors=4", limit=LIMIT)
    with open_warehouse(tmp_path / ".comem" / "warehouse.duckdb", read_only=True) as con:
        [run] = read_report_rows(con, "recent_runs", {"limit": 5})
        length = {row["condition"]: row for row in read_report_rows(con, "prompt_length", {"run_id": run["run_id"]})}
        speed = {row["condition"]: row for row in read_report_rows(con, "throughput", {"run_id": run["run_id"]})}
    assert (run["recipe_name"], run["status"]) == ("tiny_cpu+vectors=4", "completed")
    assert length["memory"]["memory_vectors"] == length["empty"]["memory_vectors"] == 3 * 4
    assert length["text"]["prompt_tokens"] > length["memory"]["prompt_tokens"] == length["none"]["prompt_tokens"]
    assert {row["n"] for row in speed.values()} == {LIMIT}
    assert speed["memory"]["encode_ms"] > 0 == speed["text"]["encode_ms"]
    [described] = (tmp_path / ".comem" / "store" / "encoder").glob("*/encoder.json")
    assert json.loads(described.read_text())["recipe"]["num_vectors"] == 4
    assert not list((tmp_path / ".comem" / "store").glob("encoder-start*"))
