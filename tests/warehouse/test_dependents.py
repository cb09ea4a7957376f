"""What rests on items is found, as a plain walk over all rows and edges finds it; the last state of a corpus decides
what is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection
from small_rows import items
from small_world import RUN_ID, SmallWorld, start, write_artefact

from warehouse.__main__ import main
from warehouse.connection import open_warehouse
from warehouse.lineage import find_dependents
from warehouse.records import record_stage, register_artefact


def list_below(con: DuckDBPyConnection, begun: set[str], *, not_through: set[str]) -> set[str]:
    """Walk down the edges in Python."""
    edges = con.execute("SELECT input_fingerprint, fingerprint FROM artefact_input").fetchall()
    found = set(begun)
    while more := {low for high, low in edges if high in found} - found - not_through:
        found |= more
    return found


def expect(con: DuckDBPyConnection, chosen: set[str]) -> dict[str, set[str]]:
    """Return why each artefact rests on the chosen items, from plain scans of the rows."""
    rows = {
        table: con.execute(f"SELECT artefact, {columns} FROM {table}").fetchall()
        for table, columns in {
            "knowledge_item": "item_id",
            "bank_entry": "item_id",
            "draft": "sample_id, item_ids",
            "prediction": "prediction_id, item_ids",
            "sample": "sample_id",
        }.items()
    }
    holding = {
        artefact for table in ("knowledge_item", "bank_entry") for artefact, item in rows[table] if item in chosen
    }
    drafts = {(artefact, name) for artefact, name, shown in rows["draft"] if chosen & set(shown or ())}
    answers = {artefact for artefact, _, shown in rows["prediction"] if chosen & set(shown or ())}
    names = {name for _, name in drafts}
    keeping, sets = (
        {artefact for artefact, name in rows["sample"] if name in names},
        {each[0] for each in rows["sample"]},
    )
    why: dict[str, set[str]] = {}
    for artefacts, reason in (
        (holding, "holds them"),
        ({artefact for artefact, _ in drafts} | answers, "was shown them"),
        (keeping, "keeps samples with them"),
        (list_below(con, keeping, not_through=sets) - sets, "rests on samples with them"),
        (list_below(con, answers, not_through=set()) - answers, "rests on answers with them"),
    ):
        for artefact in artefacts:
            why.setdefault(artefact, set()).add(reason)
    return why


@pytest.mark.parametrize("number", range(6))
def test_an_item_s_dependents_are_those_of_a_plain_walk(con: DuckDBPyConnection, number: int) -> None:
    item_id = items()[number]["item_id"]
    found = find_dependents(con, "item", [item_id])
    assert {each.fingerprint: set(each.why.split(", ")) for each in found} == expect(con, {item_id})
    assert {each.num_items for each in found} == {1} and {each.last_run for each in found} == {RUN_ID}


def test_items_of_a_licence_a_source_or_a_picture_are_chosen_together(con: DuckDBPyConnection) -> None:
    known = con.execute("SELECT item_id, image_id, licence, source FROM knowledge_item").fetchall()
    for place, by in enumerate(("image", "licence", "source"), start=1):
        value = known[0][place]
        chosen = {row[0] for row in known if row[place] == value}
        found = find_dependents(con, by, [value])
        assert {each.fingerprint for each in found} == set(expect(con, chosen))
        assert {each.num_items for each in found} == {len(chosen)}
        assert max(each.num_rows or 0 for each in found if each.why == "holds them") == len(chosen)


@pytest.mark.parametrize(("by", "said"), [("item", "item_id 'x'"), ("licence", "licence 'x'; there are '")])
def test_a_value_that_no_item_has_is_refused(con: DuckDBPyConnection, by: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"no knowledge item has the {said}"):
        find_dependents(con, by, ["x"])


@pytest.fixture
def begun(tmp_path: Path) -> SmallWorld:
    return start(tmp_path)


def know(
    world: SmallWorld,
    rows: Sequence[Mapping],
    *,
    content: str,
    corpus: str = "a",
    address: str | None = None,
    withdrawn: str | None = None,
) -> str:
    """Register a state of a corpus, as an ingestion does."""
    made_from = {"content": content, "of": corpus, "address": address or "", "withdrawn": withdrawn}
    record, folder = write_artefact(world, "knowledge", {"knowledge_item": rows}, made_from)
    recipe = {"corpus": corpus, "content": content, "reading": {"max_side": 1024}, "withdrawn": withdrawn}
    record |= {"recipe": recipe, "inputs": {}}
    record["measured"] = {"corpus_address": address or f"/srv/{corpus}"}
    with open_warehouse(world.database) as con:
        register_artefact(con, record, table="knowledge_item", folder=folder)
    use(world, record["fingerprint"])
    return record["fingerprint"]


def use(world: SmallWorld, fingerprint: str) -> None:
    with open_warehouse(world.database) as con:
        done = {"stage": "knowledge", "action": "made", "reason": "", "seconds": 1.0, "fingerprint": fingerprint}
        record_stage(con, RUN_ID, done)


def find_gone(world: SmallWorld) -> list[tuple[str, int | None]]:
    with open_warehouse(world.database, read_only=True) as con:
        return [(each.fingerprint, each.num_rows) for each in find_dependents(con, "gone")]


def test_gone_is_what_the_last_used_state_of_a_corpus_lacks(begun: SmallWorld) -> None:
    all_rows = items()
    first = know(begun, all_rows[:6], content="1")
    assert find_gone(begun) == []
    second = know(begun, all_rows[2:8], content="2")
    assert find_gone(begun) == [(first, 2)]
    use(begun, first)  # somebody brought the documents back
    assert find_gone(begun) == [(second, 2)]


def test_what_was_withdrawn_from_a_corpus_is_gone(begun: SmallWorld) -> None:
    whole = know(begun, items()[:6], content="1")
    know(begun, items()[1:6], content="1", withdrawn="1 items, 0123456789abcdef")
    assert find_gone(begun) == [(whole, 1)]


def test_what_another_corpus_still_has_is_not_gone(begun: SmallWorld) -> None:
    all_rows = items()
    first = know(begun, all_rows[:6], content="1")
    know(begun, all_rows[2:6], content="2")
    know(begun, all_rows[:1], content="1", corpus="b")
    assert find_gone(begun) == [(first, 1)]
    know(begun, all_rows[3:4], content="2", corpus="b")
    assert (first, 2) in find_gone(begun)


def test_two_folders_of_one_name_are_two_corpora(begun: SmallWorld) -> None:
    know(begun, items()[:4], content="1", address="/srv/one/docs", corpus="docs")
    know(begun, items()[4:8], content="2", address="/srv/two/docs", corpus="docs")
    assert find_gone(begun) == []


def test_the_command_says_what_rests_on_items_and_that_none_is_gone(
    world: SmallWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["rests-on", "--database", str(world.database)]
    assert main([*shared, "--item", items()[0]["item_id"]]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 item; on it rest") and all(
        f"{stage:<14} {world.fingerprints[stage]}" in said for stage in ("ingest", "encode", "score")
    )
    assert main([*shared, "--gone"]) == 0 and capsys.readouterr().out.startswith("No item is gone")
    assert main([*shared, "--source", "nowhere"]) == 2 and "'nowhere'; there are '" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*shared, "--item", "a", "--gone"])
