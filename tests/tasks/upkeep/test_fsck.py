"""What is wrong with store or warehouse is named; the warehouse is mended by the store, and the store by a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.serving.layout import RECORD
from tasks.engine.context import Context
from tasks.engine.store import Reference, Store
from tasks.upkeep.fsck import find_faults, main
from tests.tasks.upkeep.test_garbage import names, run_all
from warehouse.connection import open_warehouse
from warehouse.records import forget_artefact

Plant = Callable[[Context, list[Reference]], None]
LOADED = "SELECT count(*) FROM sample WHERE artefact = ?"


def say_faults(context: Context, *, hashed: bool = True) -> list[str]:
    return [str(each) for each in find_faults(context, hashed=hashed)]


def repair(context: Context) -> None:
    for fault in list(find_faults(context)):
        assert fault.repair is None or fault.repair(), fault


def flip_a_byte(context: Context, made: list[Reference]) -> None:
    path = made[1].folder / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def lose_a_file(context: Context, made: list[Reference]) -> None:
    (made[1].folder / "part-00000.parquet").unlink()


def cut_a_record(context: Context, made: list[Reference]) -> None:
    path = made[2].folder / RECORD
    path.write_text(path.read_text()[:50])


def leave_a_file(context: Context, made: list[Reference]) -> None:
    (made[1].folder / ".kept.json").write_text("{}")


def lose_an_input(context: Context, made: list[Reference]) -> None:
    Store.of(context).remove(made[0].stage, made[0].fingerprint)
    with open_warehouse(context.warehouse) as con:
        forget_artefact(con, made[0].fingerprint)


def lose_a_result(context: Context, made: list[Reference]) -> None:
    Store.of(context).remove(made[2].stage, made[2].fingerprint)


def forget_a_result(context: Context, made: list[Reference]) -> None:
    with open_warehouse(context.warehouse) as con:
        forget_artefact(con, made[1].fingerprint)


def lose_rows(context: Context, made: list[Reference]) -> None:
    with open_warehouse(context.warehouse) as con:
        con.execute("DELETE FROM sample WHERE artefact = ? AND sample_id LIKE '%7'", [made[1].fingerprint])


def add_rows(context: Context, made: list[Reference]) -> None:
    with open_warehouse(context.warehouse) as con:
        con.execute("INSERT INTO sample BY NAME SELECT 'feedfeed' AS artefact, 'a sample' AS sample_id")


def test_nothing_is_wrong_with_what_runs_left(place: Context) -> None:
    run_all(place, "run-0")
    run_all(place, "run-1", corpus="trees", status="failed")
    assert say_faults(place) == say_faults(place, hashed=False) == []


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (flip_a_byte, "filter {1}: part-00000.parquet differs from its record"),
        (lose_a_file, "filter {1}: part-00000.parquet is missing"),
        (cut_a_record, "report {2}: its record.json cannot be read"),
        (leave_a_file, "filter {1}: .kept.json is not listed in its record; nothing reads it, and"),
        (lose_an_input, "filter {1}: its knowledge (samples {0}) is not in the store any more; it can be used"),
    ],
)
def test_what_is_wrong_with_the_store_is_named_and_not_touched(context: Context, plant: Plant, said: str) -> None:
    made = run_all(context, "run-0")
    plant(context, made)
    faults = say_faults(context)
    assert any(said.format(*names(made)) in each for each in faults), faults
    before = {path: path.stat().st_mtime_ns for path in context.store.rglob("*") if path.suffix != ".lock"}
    repair(context)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert any(said.format(*names(made)) in each for each in say_faults(context))


@pytest.mark.parametrize("plant", [flip_a_byte, lose_a_file, cut_a_record, lose_an_input, leave_a_file])
def test_the_next_run_makes_good_what_the_store_lost(context: Context, plant: Plant) -> None:
    plant(context, run_all(context, "run-0"))
    run_all(context, "run-0")
    assert say_faults(context) == []


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (forget_a_result, "filter {1}: the warehouse does not have it; --repair loads its rows"),
        (lose_rows, "filter {1}: the warehouse has 45 of 50 rows of sample; --repair loads them again"),
        (add_rows, "a result feedfeed: the warehouse has it (rows: 1), and the store does not"),
        (lose_a_result, "report {2}: the warehouse has it (rows: 0), and the store does not"),
    ],
)
def test_what_is_wrong_with_the_warehouse_is_mended_by_the_store(place: Context, plant: Plant, said: str) -> None:
    made = run_all(place, "run-0")
    plant(place, made)
    [fault] = say_faults(place)
    assert fault.startswith(said.format(*names(made)))
    assert say_faults(place, hashed=False) == [fault]
    repair(place)
    assert say_faults(place) == []
    with open_warehouse(place.warehouse, read_only=True) as con:
        assert con.execute(LOADED, [made[1].fingerprint]).fetchall() == [(50,)]


def test_rows_whose_files_are_damaged_too_are_not_given_up(context: Context) -> None:
    made = run_all(context, "run-0")
    lose_rows(context, made)
    flip_a_byte(context, made)
    faults = [fault for fault in find_faults(context) if fault.repair is not None]
    assert len(faults) == 1 and not any(fault.repair() for fault in faults if fault.repair)
    with open_warehouse(context.warehouse, read_only=True) as con:
        assert con.execute(LOADED, [made[1].fingerprint]).fetchall() == [(45,)]
    run_all(context, "run-0")  # which makes the files again
    repair(context)
    assert say_faults(context) == []


def test_a_warehouse_that_cannot_be_read_is_named_and_made_again(
    context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Context, "from_environment", lambda: context)
    run_all(context, "run-0")
    whole = context.warehouse.read_bytes()
    context.warehouse.write_bytes(whole[: len(whole) // 3])
    assert main([]) == 1 and "it cannot be read" in capsys.readouterr().out
    assert context.warehouse.stat().st_size == len(whole) // 3
    assert main(["--repair"]) == 0 and "rebuilt from the store: 3 results" in capsys.readouterr().out
    assert main([]) == 0


def test_results_of_another_store_are_left_alone(context: Context, tmp_path: Path) -> None:
    run_all(context, "run-0")
    other = replace(context, store=tmp_path / "another store")
    run_all(other, "run-1", corpus="trees")
    assert say_faults(context) == say_faults(other) == []


def test_the_command_says_what_is_left(
    context: Context, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Context, "from_environment", lambda: context)
    assert main([]) == 2 and "there is no warehouse" in capsys.readouterr().err
    made = run_all(context, "run-0")
    assert main(["--quick"]) == 0 and "are as their records say" in capsys.readouterr().out
    lose_rows(context, made)
    leave_a_file(context, made)
    assert main([]) == 1 and "2 found in" in capsys.readouterr().out
    assert main(["--repair"]) == 1
    told = capsys.readouterr().out
    assert "mended: filter" in told and "2 found in" in told and "1 left" in told
