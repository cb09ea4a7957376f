"""A card's numbers are those of the rows, each by a query that the card names and that runs again."""

from __future__ import annotations

import json
import re

import pytest
from duckdb import DuckDBPyConnection
from small_world import PARAMETERS, RUN_ID, SmallWorld

from warehouse.__main__ import main
from warehouse.samples.cards import CardSources, collect_card, find_sources, render_card


@pytest.fixture
def sources(world: SmallWorld) -> CardSources:
    made = world.fingerprints
    names = {
        "knowledge": "ingest",
        "questions": "questions",
        "drafts": "synthesise",
        "verdicts": "judge",
        "kept": "filter",
    }
    return CardSources(**{role: (made[stage],) for role, stage in names.items()})


def one(con: DuckDBPyConnection, query: str) -> int:
    return con.execute(query).fetchall()[0][0]


def test_a_runs_card_is_about_its_own_artefacts(con: DuckDBPyConnection, sources: CardSources) -> None:
    found = find_sources(con, RUN_ID)
    assert (found.drafts, found.verdicts, found.kept) == (sources.drafts, sources.verdicts, sources.kept)
    assert set(sources.questions) <= set(found.questions)
    with pytest.raises(ValueError, match="the run nothing has no filtered drafts"):
        find_sources(con, "nothing")


def test_the_numbers_are_those_of_the_rows(con: DuckDBPyConnection, sources: CardSources) -> None:
    card = collect_card(con, sources)
    kept = "draft SEMI JOIN sample USING (sample_id)"
    samples = one(con, "SELECT count(*) FROM sample")
    assert card.total["samples"] == samples == card.funnel.kept
    assert card.total["items"] == one(con, f"SELECT count(DISTINCT i) FROM (SELECT unnest(item_ids) AS i FROM {kept})")
    for part in ("languages", "kinds"):
        assert sum(row["samples"] for row in card.found[part]) == samples
    (source,) = card.found["sources"]
    assert (source["source"], source["licence"], source["samples"]) == ("small world", "CC0-1.0", samples)
    models = [(row["model"], row["seed"], row["drafts"]) for row in card.found["models"]]
    assert models == [("tiny", 1, 48), ("tiny", 2, 1)]
    assert sum(row["samples"] for row in card.found["models"]) == samples
    ledger = {row["mode"]: row for row in card.found["ledger"]}
    assert ledger["all"] == ledger["answer"] | {"mode": "all"}
    assert ledger["all"]["prompt_tokens"] == 49 * 612 and ledger["all"]["failures"] == 0
    assert ledger["all"]["prompt_tokens_per_sample"] == pytest.approx(49 * 612 / samples)
    assert len(card.found["examples"]) == min(10, samples)


def test_the_card_says_what_was_counted_and_how_to_count_again(con: DuckDBPyConnection, sources: CardSources) -> None:
    text = render_card(collect_card(con, sources), sources, name="small world")
    assert text == render_card(collect_card(con, sources), sources, name="small world")
    _, front, body = text.split("---\n", 2)
    facts = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in front.strip().splitlines())}
    assert facts["language"] == ["ar", "en"] and facts["license_name"] == "CC0-1.0"
    assert facts["size_categories"] == ["n<1K"] and facts["configs"][0]["data_files"][0]["path"] == "train-*.parquet"
    samples = one(con, "SELECT count(*) FROM sample")
    assert body.startswith(f"\n# small world\n\n{samples} samples")
    assert f"Of 49 drafts, {samples} are kept" in body
    for key in PARAMETERS:
        assert f"`{key}`" in body
    queries = re.findall(r"```sql\n(.*?)\n```", body, re.DOTALL)
    assert len(queries) == 9 and all(con.execute(query).fetchall() for query in queries)
    named = set(re.findall(r"`(card_\w+|funnel)`", body))
    assert named == set(re.findall(r"^### (\w+)$", body, re.MULTILINE))
    assert "No filter of this set compared its drafts with a benchmark." in body
    assert all(fingerprint in body for part in vars(sources).values() for fingerprint in part)
    assert not re.search(r"\n\n\n|[ \t]\n", body)


def test_the_command_prints_the_card_and_each_of_its_queries(world: SmallWorld, capsys: pytest.CaptureFixture) -> None:
    assert main(["card", "--database", str(world.database), "--run", RUN_ID, "--name", "flags"]) == 0
    assert "# flags\n" in capsys.readouterr().out
    assert main(["report", "card_totals", "--database", str(world.database)]) == 0
    said, line = capsys.readouterr().out.splitlines()
    assert said.startswith("The number of kept samples") and json.loads(line)["samples"] > 0
    assert main(["card", "--database", str(world.database), "--run", "nothing"]) == 2
