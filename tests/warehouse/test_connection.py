"""One writer at a time, bounded waits, migrations once: with real processes on real files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest

from warehouse.connection import MIGRATIONS, WarehouseBusyError, apply_migrations, open_transaction, open_warehouse

ADD = "INSERT INTO dropped_row (artefact, file, reason) VALUES ('a', ?, 'x')"
WRITE_TEN = f"""
import sys
from warehouse.connection import open_warehouse, open_transaction
for number in range(10):
    with open_warehouse(sys.argv[1], timeout=60) as con, open_transaction(con):
        con.execute({ADD!r}, [f"{{sys.argv[2]}}-{{number}}"])
"""
HOLD = f"""
import sys, time
from warehouse.connection import open_warehouse
with open_warehouse(sys.argv[1], read_only=sys.argv[2] == "read") as con:
    if sys.argv[2] == "write":
        con.execute({ADD!r}, ["committed"])
        con.execute("BEGIN TRANSACTION")
        con.execute({ADD!r}, ["not committed"])
    print("open", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def hold(database: Path, mode: str, seconds: float) -> subprocess.Popen[str]:
    """Start a process that keeps the warehouse open, and wait until it does."""
    command = [sys.executable, "-c", HOLD, str(database), mode, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def files_in(database: Path) -> list[str]:
    with open_warehouse(database, read_only=True) as con:
        return sorted(name for (name,) in con.execute("SELECT file FROM dropped_row").fetchall())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with open_warehouse(tmp_path / "deep" / "warehouse.duckdb"):
        pass
    return tmp_path / "deep" / "warehouse.duckdb"


def test_two_processes_that_write_at_once_both_finish(database: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE_TEN, str(database), name], stderr=subprocess.PIPE, text=True)
        for name in ("first", "second")
    ]
    for writer in writers:
        _, error = writer.communicate(timeout=90)
        assert writer.returncode == 0, error
    assert files_in(database) == sorted(f"{name}-{number}" for name in ("first", "second") for number in range(10))


def test_two_threads_that_write_at_once_both_finish(database: Path) -> None:
    def write(name: str) -> None:
        for number in range(5):
            with open_warehouse(database) as con, open_transaction(con):
                con.execute(ADD, [f"{name}-{number}"])

    threads = [threading.Thread(target=write, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files_in(database)) == 10


def test_a_writer_that_waits_too_long_is_told_who_holds_the_lock(database: Path) -> None:
    holder = hold(database, "write", 30)
    try:
        started = time.monotonic()
        with (
            pytest.raises(WarehouseBusyError, match=rf"process {holder.pid} on .*\.lock"),
            open_warehouse(database, timeout=0.5),
        ):
            pass
        assert time.monotonic() - started < 5
        with (
            pytest.raises(WarehouseBusyError, match=f"process {holder.pid} on "),
            open_warehouse(database, read_only=True, timeout=0.3),
        ):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_a_writer_that_waits_for_a_reader_is_told_its_process_and_command(database: Path) -> None:
    holder = hold(database, "read", 30)
    try:
        holding = (
            rf": process {holder.pid} on {socket.gethostname()} \(.*python.* -c .*\) has it open\..*PID {holder.pid}"
        )
        with pytest.raises(WarehouseBusyError, match=holding) as busy, open_warehouse(database, timeout=0.3):
            pass
        assert f"process {os.getpid()} " not in str(busy.value)
    finally:
        holder.kill()
        holder.wait()
    with open_warehouse(database, timeout=5):
        assert json.loads(Path(f"{database}.writer.json").read_text())["pid"] == os.getpid()
    assert not Path(f"{database}.writer.json").exists()


def test_a_writer_that_waits_for_a_reader_of_its_own_process_does_not_blame_another(database: Path) -> None:
    with (
        open_warehouse(database, read_only=True),
        pytest.raises(WarehouseBusyError, match="another connection of this one, has it open"),
        open_warehouse(database, timeout=0.2),
    ):
        pass


def test_a_reader_waits_for_a_writer_to_finish(database: Path) -> None:
    holder = hold(database, "write", 1.0)
    assert files_in(database) == ["committed"]
    assert holder.wait(timeout=10) == 0


def test_a_reader_waits_for_a_writer_in_its_own_process(database: Path) -> None:
    found = []
    with open_warehouse(database) as con:
        reader = threading.Thread(target=lambda: found.extend(files_in(database)))
        reader.start()
        time.sleep(0.2)
        con.execute(ADD, ["late"])
    reader.join()
    assert found == ["late"]


def test_a_killed_writer_leaves_a_warehouse_that_opens(database: Path) -> None:
    holder = hold(database, "write", 30)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert files_in(database) == ["committed"]  # read-only, before any writer has repaired it
    with open_warehouse(database, timeout=5) as con, open_transaction(con):
        con.execute(ADD, ["after"])
    assert files_in(database) == ["after", "committed"]


def test_a_failed_transaction_leaves_nothing(database: Path) -> None:
    with open_warehouse(database) as con:
        with pytest.raises(duckdb.Error), open_transaction(con):
            con.execute(ADD, ["half"])
            con.execute("SELECT * FROM no_such_table")
        with pytest.raises(KeyboardInterrupt), open_transaction(con):
            con.execute(ADD, ["half"])
            raise KeyboardInterrupt
    assert files_in(database) == []


def test_a_read_only_open_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no warehouse at"), open_warehouse(tmp_path / "none.duckdb", read_only=True):
        pass


def test_a_read_only_open_of_an_old_warehouse_names_what_it_lacks(database: Path) -> None:
    last = sorted(MIGRATIONS.glob("*.sql"))[-1].name
    with open_warehouse(database) as con:
        con.execute("DELETE FROM migration WHERE name = ?", [last])
    with pytest.raises(ValueError, match=last), open_warehouse(database, read_only=True):
        pass


def test_migrations_are_applied_once_in_order_and_a_changed_one_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    names = sorted(file.name for file in MIGRATIONS.glob("*.sql"))
    with duckdb.connect(tmp_path / "some.duckdb") as con:
        assert apply_migrations(con, folder) == names
        assert apply_migrations(con, folder) == []
        (folder / "0900_more.sql").write_text("CREATE TABLE more (x INTEGER);")
        assert apply_migrations(con, folder) == ["0900_more.sql"]
        (folder / "0900_more.sql").write_text("CREATE TABLE more (x BIGINT);")
        with pytest.raises(ValueError, match=r"0900_more\.sql has changed"):
            apply_migrations(con, folder)
        (folder / "0900_more.sql").unlink()
        with pytest.raises(ValueError, match=r"0900_more\.sql, which this version"):
            apply_migrations(con, folder)


def test_a_migration_that_fails_half_way_leaves_nothing_and_a_late_one_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0002_b.sql").write_text("CREATE TABLE b (x INTEGER); CREATE TABLE b (x INTEGER);")
    with duckdb.connect(tmp_path / "some.duckdb") as con:
        with pytest.raises(duckdb.Error):
            apply_migrations(con, folder)
        (folder / "0002_b.sql").write_text("CREATE TABLE b (x INTEGER);")
        assert apply_migrations(con, folder) == ["0002_b.sql"]
        (folder / "0001_a.sql").write_text("CREATE TABLE a (x INTEGER);")
        with pytest.raises(ValueError, match=r"0001_a\.sql comes before 0002_b\.sql"):
            apply_migrations(con, folder)
