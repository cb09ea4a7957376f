"""Reports of speed and prompt length: what they average, and that runs and encoders stay apart."""

import json

import pytest
from duckdb import DuckDBPyConnection
from small_world import RUN_ID, SmallWorld

from warehouse.__main__ import main
from warehouse.sql import read_report_rows


def by_condition(con: DuckDBPyConnection, name: str) -> dict[str, dict]:
    found = read_report_rows(con, name, {"run_id": RUN_ID})
    assert len(found) == len({row["condition"] for row in found})
    return {row["condition"]: row for row in found}


def test_throughput_counts_tokens_with_and_without_what_the_items_took(con: DuckDBPyConnection, world: SmallWorld):
    speed = by_condition(con, "throughput")
    memory, none = speed["memory"], speed["none"]
    assert memory["encoder"] == world.fingerprints["train"]
    assert memory["tokens_a_second"] == none["tokens_a_second"] == pytest.approx(3 / 0.2)
    assert memory["tokens_a_second_with_items"] == pytest.approx(3 / 0.24)
    assert speed["text"]["tokens_a_second_with_items"] == pytest.approx(3 / 0.21)
    assert none["tokens_a_second_with_items"] == pytest.approx(3 / 0.2)
    assert memory["tokens_a_second_in_decoding"] == pytest.approx(3 / 0.05)
    parts = [memory[f"{part}_ms"] for part in ("answer", "retrieve", "encode", "prefill", "decode")]
    assert parts == pytest.approx([200, 10, 30, 100, 50])


def test_prompt_length_stands_beside_the_score_of_the_whole(con: DuckDBPyConnection, world: SmallWorld):
    length = by_condition(con, "prompt_length")
    assert (length["text"]["prompt_tokens"], length["text"]["memory_vectors"]) == (655, 0)
    assert (length["memory"]["prompt_tokens"], length["memory"]["memory_vectors"]) == (96, 24)
    whole = {
        row["condition"]: row["value"]
        for row in read_report_rows(con, "score_table", {"run_id": RUN_ID})
        if row["split"] == "all"
    }
    assert {condition: row["value"] for condition, row in length.items()} == whole
    assert length["memory"]["encoder"] == world.fingerprints["train"]


def test_another_run_has_nothing_of_this_one(con: DuckDBPyConnection):
    for name in ("throughput", "prompt_length", "answered"):
        assert read_report_rows(con, name, {"run_id": "another"}) == []


@pytest.mark.parametrize("name", ["throughput", "prompt_length"])
def test_the_command_line_prints_what_a_report_says_of_itself_and_its_rows(
    world: SmallWorld, capsys: pytest.CaptureFixture[str], name: str
):
    assert main(["report", name, "--run", RUN_ID, "--database", str(world.database)]) == 0
    heading, *printed = capsys.readouterr().out.splitlines()
    assert "the paper's Table 1" in heading
    assert {json.loads(line)["condition"] for line in printed} >= {"none", "text", "memory"}
