"""Other thresholds give another funnel, without a row being written; the ledger adds up what samples cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest
from duckdb import DuckDBPyConnection
from small_world import RUN_ID, SmallWorld

from warehouse.__main__ import main
from warehouse.samples.filtering import count_funnel, read_reason_meanings
from warehouse.samples.refiltering import count_funnel_with, list_filtered_artefacts
from warehouse.sql import read_report_rows


def test_the_same_thresholds_give_the_same_funnel(con: DuckDBPyConnection, world: SmallWorld) -> None:
    (artefact,) = list_filtered_artefacts(con, RUN_ID)
    assert artefact == world.fingerprints["filter"]
    before = count_funnel(con, world.fingerprints["synthesise"], artefact)
    assert count_funnel_with(con, artefact, {}) == before
    assert count_funnel(con, world.fingerprints["synthesise"], artefact) == before


def test_another_threshold_changes_what_would_be_kept(con: DuckDBPyConnection, world: SmallWorld) -> None:
    artefact = world.fingerprints["filter"]
    strict, loose = (
        count_funnel_with(con, artefact, change) for change in ({"max_per_answer": 1}, {"max_without_score": None})
    )
    assert strict.kept < count_funnel_with(con, artefact, {}).kept < loose.kept
    assert all(found.drafts == found.kept + sum(line.first for line in found.reasons) for found in (strict, loose))
    with pytest.raises(ValueError, match="no filter uses max_words"):
        count_funnel_with(con, artefact, {"max_words": 3})


def test_a_parameter_that_an_older_filtering_did_not_have_is_off(world: SmallWorld, tmp_path: Path) -> None:
    artefact = world.fingerprints["filter"]
    con = duckdb.connect(shutil.copy(world.database, tmp_path))
    as_it_is, without = (count_funnel_with(con, artefact, change) for change in ({}, {"max_without_score": None}))
    [(recipe,)] = con.execute("SELECT recipe FROM artefact WHERE fingerprint = ?", [artefact]).fetchall()
    older = {name: value for name, value in json.loads(recipe).items() if name != "max_without_score"}
    con.execute("UPDATE artefact SET recipe = ? WHERE fingerprint = ?", [json.dumps(older), artefact])
    assert count_funnel_with(con, artefact, {}) == without != as_it_is
    meanings = (read_reason_meanings(each)["not_needed"] for each in (json.loads(recipe), older))
    assert [each == "Switched off in this recipe." for each in meanings] == [False, True]


def test_the_ledger_adds_up(con: DuckDBPyConnection) -> None:
    *parts, whole = read_report_rows(con, "ledger", {"run_id": RUN_ID})
    assert {(row["mode"], row["language"]) for row in parts} == {("answer", "en"), ("answer", "ar")}
    assert (whole["mode"], whole["language"]) == (None, None)
    for name in ("num_drafts", "num_failed", "num_kept", "prompt_tokens", "answer_tokens"):
        assert whole[name] == sum(row[name] for row in parts)
    [(drafts, kept)] = con.execute("SELECT (SELECT count(*) FROM draft), (SELECT count(*) FROM sample)").fetchall()
    assert (whole["num_drafts"], whole["num_kept"], whole["num_failed"]) == (drafts, kept, 0)
    assert whole["tokens_a_sample"] == pytest.approx((612 + 4) * drafts / kept)


def test_the_command_line_filters_again_and_shows_the_ledger(
    world: SmallWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    database = ["--database", str(world.database)]
    assert main(["filter", "--set", "max_answer_words=1", *database]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert "max_answer_words = 1; nothing is written" in first
    counts = {line.split()[0]: int(line.split()[1]) for line in lines if line.strip().split()[0] not in ("first",)}
    assert counts.pop("drafts") == sum(counts.values())
    assert counts["empty_or_long"] > 0
    assert main(["filter", "--set", "max_words=1", *database]) == 2
    assert "no filter uses max_words" in capsys.readouterr().err
    assert main(["ledger", *database]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[:3] == ["all", "all", "49"]
