"""The backup that docs/operations.md describes, made while a result is unfinished, and restored with nothing else."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engine.context import Context
from tasks.engine.rebuild import find_history
from tasks.engine.rebuild import main as rebuild
from tasks.upkeep.fsck import find_faults
from tests.tasks.engine.test_rebuild import read_all
from tests.tasks.upkeep.test_garbage import run_all
from warehouse.connection import open_warehouse
from warehouse.history import keep_runs

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"


def read_commands() -> list[str]:
    """Return the commands of tar that the docs name: of the backup, and of restoring it."""
    return re.findall(r"^tar .*$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_a_restored_backup_has_every_row_and_is_gone_on_with(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    place = replace(context, store=here / ".comem" / "store", warehouse=here / ".comem" / "warehouse.duckdb")
    made = run_all(place, "run-0")
    with open_warehouse(place.warehouse) as con:
        keep_runs(con, find_history(place), ended="run-0")
    unfinished = place.store / "filter" / "0123456789abcdef.partial"
    unfinished.mkdir()
    (unfinished / "part-00000.parquet").write_bytes(b"half a shard")

    save, restore = read_commands()
    subprocess.run(save, shell=True, cwd=here, check=True)
    (there / ".comem").mkdir(parents=True)
    shutil.copy(here / "backup.tar", there)
    subprocess.run(restore, shell=True, cwd=there, check=True)

    restored = replace(place, store=there / ".comem" / "store", warehouse=there / ".comem" / "warehouse.duckdb")
    assert not list(restored.store.rglob("*.partial")) and not list(restored.store.rglob("*.lock"))
    monkeypatch.setattr(Context, "from_environment", lambda: restored)
    rebuild(restored.warehouse)
    assert list(find_faults(restored)) == []
    before, after = read_all(place.warehouse), read_all(restored.warehouse)
    for table in ("sample", "run", "run_stage", "artefact_input"):
        assert after[table] == before[table]
    assert [each.fingerprint for each in run_all(restored, "run-1")[:1]] == [made[0].fingerprint]
    [reused] = [action for stage, action in _list_actions(restored, "run-1") if stage == made[0].stage]
    assert reused == "reused"


def _list_actions(context: Context, run_id: str) -> list[tuple[str, str]]:
    with open_warehouse(context.warehouse, read_only=True) as con:
        asked = "SELECT stage, action FROM run_stage WHERE run_id = ?"
        return [(stage, action) for stage, action in con.execute(asked, [run_id]).fetchall()]
