"""What is checked after a fault finds each kind of damage, and nothing where there is none."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.faults.checking import compare_ends, find_half_done, find_made_again, find_wrong, list_finished
from tasks.engine.context import Context
from tasks.engine.store import Store
from tests.tasks.engine.small_run import make_context, run_small
from warehouse.connection import open_warehouse

DRAFTS = "drafts/*/part-00000.parquet"


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run that has ended well."""
    root = tmp_path_factory.mktemp("ended") / "run"
    run_small(root, root.parent / "done.txt", "first")
    return root


@pytest.fixture
def context(ended: Path, tmp_path: Path) -> Context:
    """A run of its own, made by the same code."""
    run_small(tmp_path / "run", tmp_path / "done.txt", "first")
    return make_context(tmp_path / "run")


def take_record(context: Context) -> None:
    next(context.store.glob("bank/*/record.json")).unlink()


def flip_byte(context: Context) -> None:
    path = next(context.store.glob(DRAFTS))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def double_rows(context: Context) -> None:
    with open_warehouse(context.warehouse) as con:
        con.execute("INSERT INTO draft SELECT * FROM draft")


def forget_rows(context: Context) -> None:
    with open_warehouse(context.warehouse) as con:
        con.execute("DELETE FROM draft WHERE sample_id = 'sample 3'")


def leave_unfinished(context: Context) -> None:
    (context.store / "drafts" / "0123456789abcdef.partial").mkdir()


def break_warehouse(context: Context) -> None:
    os.truncate(context.warehouse, context.warehouse.stat().st_size // 2)


def test_nothing_is_wrong_with_a_run_that_has_ended(context: Context, ended: Path) -> None:
    assert [*find_wrong(context)] == []
    assert compare_ends(context, make_context(ended)) == (0, [])


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (take_record, "has its final name without a record"),
        (flip_byte, "differs from its record"),
        (double_rows, "has the row"),
        (forget_rows, "the warehouse has 7 of 8 rows of draft"),
        (leave_unfinished, "was left"),
        (break_warehouse, "the warehouse does not open"),
    ],
)
def test_each_kind_of_damage_is_found(context: Context, damage: Callable[[Context], None], found: str) -> None:
    damage(context)
    assert found in "\n".join(find_wrong(context))


def test_what_is_half_done_is_found_while_a_run_goes_on(context: Context) -> None:
    leave_unfinished(context)
    assert [*find_half_done(context)] == []
    take_record(context)
    assert len([*find_half_done(context)]) == 1


def test_a_finished_shard_that_was_made_again_or_is_gone_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "drafts" / "0f.partial"
    (folder / ".batches" / "part-1").mkdir(parents=True)
    for name in ("part-0.parquet", ".batches/part-1/0.parquet", ".batches/part-1/1.parquet", ".part-2.parquet.tmp"):
        (folder / name).write_text(name)
    before = list_finished(tmp_path)
    assert len(before) == 3 and [*find_made_again(before, tmp_path)] == []
    folder.rename(folder.with_suffix(""))
    assert [*find_made_again(before, tmp_path)] == []
    shutil.rmtree(folder.with_suffix("") / ".batches")
    assert len([*find_made_again(before, tmp_path)]) == 2
    (folder.with_suffix("") / "part-1.parquet").write_text("both batches")
    assert [*find_made_again(before, tmp_path)] == []
    again = folder.with_suffix("") / "again"
    again.write_text("part-0.parquet")
    again.rename(folder.with_suffix("") / "part-0.parquet")
    assert [*find_made_again(before, tmp_path)] == ["drafts/0f.partial/part-0.parquet was finished and made again"]


def test_other_rows_and_missing_results_are_counted(context: Context, ended: Path) -> None:
    store = Store.of(context)
    [record] = store.list_records("drafts")
    store.remove("drafts", record["fingerprint"])
    rows, differing = compare_ends(context, make_context(ended))
    assert rows == record["num_rows"] == 8 and len(differing) == 1 and "is missing" in differing[0]
    [bank] = store.list_records("bank")
    (Path(bank["uri"]) / "bank.json").write_text("[]")
    assert len(compare_ends(context, make_context(ended))[1]) == 2
