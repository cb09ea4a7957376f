"""What nothing rests on goes from store and warehouse, what is kept stays, and what went can be made again."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from comem_core.addresses.remote import Remote
from tasks.engine.context import Context, RunRef
from tasks.engine.partial import Partial
from tasks.engine.rebuild import load_store
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store
from tasks.upkeep.garbage import Room, find_garbage, list_abandoned, main, remove_garbage
from tests.tasks.engine.test_rebuild import OWN_TABLES, read_all
from warehouse.connection import open_warehouse
from warehouse.lineage import Unneeded
from warehouse.records import finish_run, record_run
from warehouse.schemas import make_schema

KNOWLEDGE, FILTER, PAGE = (
    Stage(name=name, version="1", table=table)
    for name, table in (("samples", "sample"), ("filter", "sample"), ("report", None))
)


@dataclass(frozen=True, kw_only=True)
class Name:
    name: str


def make_rows(run: RunRef, stage: Stage, name: str, inputs: dict[str, Reference]) -> Reference:
    def make(partial: Partial) -> None:
        rows = {"sample_id": [f"{name}-{number}" for number in range(50)]}
        partial.write_shard("part-00000", pa.table(rows, schema=make_schema("sample")))

    return run_stage(run, stage, Name(name=name), inputs, make)


def make_page(run: RunRef, inputs: dict[str, Reference]) -> Reference:
    def make(partial: Partial) -> None:
        with partial.open_file("page.html") as path:
            path.write_text("<p>")

    return run_stage(run, PAGE, Name(name=run.run_id), inputs, make)


def run_all(context: Context, run_id: str, *, corpus: str = "flags", status: str = "completed") -> list[Reference]:
    """Do a run of three stages: one that all runs of a corpus share, and two of its own."""
    run = RunRef(run_id=run_id, recipe_name="r", context=context)
    recipe = {"knowledge": {"corpus": corpus}}
    with open_warehouse(context.warehouse) as con:
        record_run(con, {"run_id": run_id, "flow": "f", "recipe_name": "r", "recipe": recipe, "flow_run_id": None})
    known = make_rows(run, KNOWLEDGE, corpus, {})
    kept = make_rows(run, FILTER, f"of {run_id}", {"knowledge": known})
    page = make_page(run, {"samples": kept})
    if status != "running":
        with open_warehouse(context.warehouse) as con:
            finish_run(con, run_id, status=status)
    return [known, kept, page]


def age(context: Context, run_id: str, days: int) -> None:
    """Move a run, and what it made, into the past."""
    with open_warehouse(context.warehouse) as con:
        con.execute(
            f"UPDATE run_stage SET finished = finished - INTERVAL {days} DAY WHERE run_id = $id", {"id": run_id}
        )
        con.execute(f"UPDATE run SET started = started - INTERVAL {days} DAY WHERE run_id = $id", {"id": run_id})


def names(references: Sequence[Reference | Unneeded]) -> list[str]:
    return [each.fingerprint for each in references]


def remove_all(context: Context, garbage: Sequence[Unneeded]) -> list[bool]:
    return [done for _, done in remove_garbage(context, garbage)]


def test_old_runs_go_with_what_only_they_rest_on_and_can_be_made_again(place: Context) -> None:
    made = [run_all(place, f"run-{number}") for number in range(4)]
    garbage = find_garbage(place, keep_runs=2, keep_days=0)
    assert names(garbage) == [made[0][2].fingerprint, made[0][1].fingerprint, *names([made[1][2], made[1][1]])]
    before = read_all(place.warehouse)
    assert remove_all(place, garbage) == [True] * 4
    assert names(find_garbage(place, keep_runs=2, keep_days=0)) == []
    store, gone = Store.of(place), set(names(garbage))
    assert {record["fingerprint"] for record in store.all_records()} == {
        name for references in made for name in names(references)
    } - gone
    now = read_all(place.warehouse)
    for table in before.keys() - OWN_TABLES - {"artefact", "artefact_input"}:
        assert now[table] == [row for row in before[table] if table in ("run", "run_stage") or row[0] not in gone], (
            table
        )
    again = run_all(place, "run-4")[0]
    assert again == made[0][0] and len(read_all(place.warehouse)["sample"]) == 50 * 4
    known, first = made[0][0], made[0][1]
    run = RunRef(run_id="run-0", recipe_name="r", context=place)
    assert make_rows(run, FILTER, "of run-0", {"knowledge": known}) == first
    fresh = replace(place, warehouse=place.warehouse.with_name("rebuilt.duckdb"))
    load_store(fresh)
    assert len(read_all(fresh.warehouse)["sample"]) == 50 * 5


def test_each_corpus_keeps_its_own_last_runs(context: Context) -> None:
    first, second = run_all(context, "run-1", corpus="a"), run_all(context, "run-2", corpus="b")
    third = run_all(context, "run-3", corpus="a")
    assert names(find_garbage(context, keep_runs=1, keep_days=0)) == names([first[2], first[1]])
    assert {*names(find_garbage(context, keep_runs=0, keep_days=0))} == {*names(first), *names(second), *names(third)}


def test_what_was_used_lately_stays_with_all_that_it_was_made_from(context: Context) -> None:
    made = run_all(context, "run-1")
    age(context, "run-1", days=20)
    run_all(context, "run-2")
    age(context, "run-2", days=10)
    assert names(find_garbage(context, keep_runs=0, keep_days=14)) == names([made[2], made[1]])
    assert names(find_garbage(context, keep_runs=0, keep_days=21)) == []
    make_rows(RunRef(run_id="run-3", recipe_name="r", context=context), FILTER, "of run-1", {"knowledge": made[0]})
    assert names(find_garbage(context, keep_runs=0, keep_days=14)) == names([made[2]])


@pytest.mark.parametrize(("days", "stays"), [(0, True), (29, True), (31, False)])
def test_a_run_that_goes_on_keeps_its_results_until_it_gave_no_sign_for_a_month(
    context: Context, days: int, stays: bool
) -> None:
    made = run_all(context, "run-1", status="running")
    age(context, "run-1", days=days)
    assert ({*names(find_garbage(context, keep_runs=0, keep_days=0))} == set()) is stays
    assert stays or {*names(find_garbage(context, keep_runs=0, keep_days=0))} == {*names(made)}


def test_a_failed_run_goes_by_its_age_alone(context: Context) -> None:
    made = run_all(context, "run-1", status="failed")
    assert names(find_garbage(context, keep_runs=5, keep_days=1)) == []
    assert {*names(find_garbage(context, keep_runs=5, keep_days=0))} == {*names(made)}


@pytest.mark.parametrize("name", [lambda made: made[2].fingerprint, lambda made: "run-1"], ids=["artefact", "run"])
def test_what_is_named_stays_with_all_that_it_was_made_from(
    context: Context, name: Callable[[list[Reference]], str]
) -> None:
    made = run_all(context, "run-1")
    assert names(find_garbage(context, keep_runs=0, keep_days=0, keep=[name(made)])) == []


def test_a_name_of_nothing_removes_nothing(context: Context) -> None:
    run_all(context, "run-1")
    with pytest.raises(ValueError, match="neither an artefact nor a run 'run-7'"):
        find_garbage(context, keep_runs=0, keep_days=0, keep=["run-1", "run-7"])


def test_a_budget_removes_the_longest_unused_and_no_more_than_needed(context: Context) -> None:
    made = [run_all(context, f"run-{number}") for number in range(3)]
    total = sum(record["num_bytes"] for record in Store.of(context).all_records())
    assert find_garbage(context, keep_runs=0, keep_days=0, budget_gb=total / 1e9) == []
    page = next(each for each in Store.of(context).all_records() if each["fingerprint"] == made[0][2].fingerprint)
    one_byte, one_page = ((total - less) / 1e9 for less in (1, page["num_bytes"] + 1000))
    assert names(find_garbage(context, keep_runs=0, keep_days=0, budget_gb=one_byte)) == names([made[0][2]])
    assert names(find_garbage(context, keep_runs=0, keep_days=0, budget_gb=one_page)) == names(made[0][:0:-1])


def test_a_file_with_two_names_gives_room_with_its_last_one(context: Context) -> None:
    made = [run_all(context, f"run-{number}") for number in range(2)]
    first, second = (Path(references[1].uri) / "part-00000.parquet" for references in made)
    second.unlink()
    os.link(first, second)  # as a stage does that takes over the rows of an earlier artefact
    for keep_runs, shards in ((1, 0), (0, 1)):
        room, records = Room(), 0
        for each in find_garbage(context, keep_runs=keep_runs, keep_days=0):
            if each.stage == "filter":
                room.add(each)
                records += (Path(each.uri) / "record.json").stat().st_size
        assert room.num_bytes == records + shards * first.stat().st_size
    remove_all(context, find_garbage(context, keep_runs=1, keep_days=0))
    assert not first.exists() and second.stat().st_nlink == 1


def test_results_of_another_store_that_the_warehouse_knows_stay(context: Context, tmp_path: Path) -> None:
    there = run_all(replace(context, store=tmp_path / "another"), "run-1", corpus="a")
    here = run_all(context, "run-2", corpus="b")
    before = read_all(context.warehouse)
    garbage = find_garbage(context, keep_runs=0, keep_days=0)
    assert {*names(garbage)} == {*names(here)}
    assert all(remove_all(context, garbage)) and all(Path(each.uri).exists() for each in there)
    kept = {each.fingerprint for each in there}
    assert read_all(context.warehouse)["sample"] == [row for row in before["sample"] if row[0] in kept] != []


def test_a_store_that_was_moved_is_still_the_one_that_is_collected(context: Context, tmp_path: Path) -> None:
    made = run_all(context, "run-1")
    moved = replace(context, store=tmp_path / "moved")
    shutil.move(context.store, moved.store)
    garbage = find_garbage(moved, keep_runs=0, keep_days=0)
    assert names(garbage) == names(made[::-1]) and all(Path(each.uri).is_dir() for each in garbage)
    assert all(remove_all(moved, garbage)) and not list(Store.of(moved).all_records())


def test_an_artefact_that_somebody_works_on_stays_for_now(context: Context) -> None:
    run_all(context, "run-1")
    garbage = find_garbage(context, keep_runs=0, keep_days=0)
    with Store.of(context).lock(garbage[0].stage, garbage[0].fingerprint):
        assert remove_all(context, garbage) == [False, True, True]
    assert remove_all(context, find_garbage(context, keep_runs=0, keep_days=0)) == [True]


def test_killed_between_store_and_warehouse_it_can_be_started_again(
    place: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run_all(place, "run-1")
    garbage = find_garbage(place, keep_runs=0, keep_days=0)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.upkeep.garbage.open_warehouse", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            remove_all(place, garbage)
    assert Store.of(place).find("report", made[2].fingerprint) is None
    assert names(find_garbage(place, keep_runs=0, keep_days=0)) == names(garbage)
    assert remove_all(place, garbage) == [True] * 3 and list(Store.of(place).all_records()) == []


def test_half_removed_an_artefact_looks_unfinished_and_is_made_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run_all(context, "run-1")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            remove_all(context, find_garbage(context, keep_runs=0, keep_days=0))
    assert (Path(made[2].uri) / "page.html").exists() and Store.of(context).find("report", made[2].fingerprint) is None
    assert run_all(context, "run-1") == made and Store.of(context).find("report", made[2].fingerprint) is not None


def test_an_unfinished_artefact_goes_when_nothing_was_added_to_it_for_as_long(context: Context) -> None:
    run_all(context, "run-1")
    folder = Store.of(context).begin("filter", "f00d").folder
    (folder / "part-00000.parquet").write_bytes(b"1234567")
    assert names(find_garbage(context, keep_runs=1, keep_days=1)) == []
    for path in (folder / "part-00000.parquet", folder):
        before = path.stat().st_mtime - 2 * 86400
        os.utime(path, (before, before))
    [found] = garbage = find_garbage(context, keep_runs=1, keep_days=1)
    assert (found.stage, found.fingerprint) == ("filter", "f00d") and found.num_bytes >= 7
    with Store.of(context).lock("filter", "f00d"):
        assert remove_all(context, garbage) == [False] and folder.exists()
    assert remove_all(context, garbage) == [True] and not folder.exists()


def test_an_unfinished_artefact_goes_from_a_bucket_too(context: Context, bucket: str) -> None:
    """Its files are told apart from those of other folders, such as a tracker's, which have no record either."""
    there = replace(context, store_address=bucket)
    run_all(there, "run-1")
    store = Store.of(there)
    with store.lock("filter", "f00d"):
        store.begin("filter", "f00d").write_shard(
            "part-00000", pa.table({"sample_id": ["a"]}, schema=make_schema("sample"))
        )
    Remote(bucket).write("tracking/filter/f00d/events", b"1")
    assert names(find_garbage(there, keep_runs=1, keep_days=1)) == []
    stages, later = ["filter", "report", "samples"], datetime.now(UTC) + timedelta(days=1)
    [found] = garbage = list_abandoned(store, stages, before=later)
    assert (found.stage, found.fingerprint, found.is_finished) == ("filter", "f00d", False) and found.num_bytes > 100
    assert abs(found.last_used - datetime.now(UTC)) < timedelta(minutes=10)
    with store.lock("filter", "f00d"):
        assert remove_all(there, garbage) == [False]
    assert remove_all(there, garbage) == [True]
    assert not Remote(bucket).list_sizes("filter/f00d") and list_abandoned(store, stages, before=later) == []
    assert Remote(bucket).list_sizes("tracking") and len(list(store.all_records())) == 3


def test_the_command_looks_first_and_removes_only_when_it_is_told_to(
    context: Context, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [run_all(context, f"run-{number}") for number in range(2)]
    for setting, value in (("STORE", context.store), ("WAREHOUSE", context.warehouse)):
        monkeypatch.setenv(f"COMEM_{setting}", str(value))
    asked = ["--keep-runs", "1", "--keep-days", "0"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "filter" in said and "Nothing was removed" in said and all(Path(each.uri).exists() for each in made[0])
    assert main([*asked, "--delete"]) == 0
    assert "Removed 2 of 2" in capsys.readouterr().out
    assert [Path(each.uri).exists() for each in (*made[0], *made[1])] == [True, False, False, True, True, True]
    assert main(asked) == 0 and "Nothing may go" in capsys.readouterr().out
    assert main([*asked, "--keep", "run-9"]) == 2 and "run-9" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--keep-days", "-1"])
