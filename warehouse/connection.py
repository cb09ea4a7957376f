"""Open the warehouse: one writer at a time across processes, bounded waits, migrations applied once.

DuckDB lets one process write, or many read, but not both. Writers queue at a lock file beside the database; readers
wait until the writer is done. A process should keep the warehouse open only for a short transaction. Independent of
what the rows mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psutil
from duckdb import DuckDBPyConnection
from filelock import FileLock, Timeout

MIGRATIONS = Path(__file__).parent / "migrations"
MEMORY_LIMIT = "1GB"  # above it DuckDB spills to disk, because the warehouse shares the machine with the models
NUM_IDS_LOOKED_UP = 2000  # a join with at most this many ids uses the index; DuckDB's own limit is 50
NO_RUN = "the warehouse has no run yet; run synth-and-train first (`make demo`)"
_POLL_SECONDS = 0.05
# DuckDB has no exception class for a lock that another process holds; these are parts of its two messages.
_BUSY = ("Could not set lock on file", "with a different configuration")


class WarehouseBusyError(TimeoutError):
    """The warehouse did not become free in time; the message names the process that holds it."""


@contextmanager
def open_warehouse(
    path: str | Path, *, read_only: bool = False, timeout: float = 60.0, memory_limit: str = MEMORY_LIMIT
) -> Iterator[DuckDBPyConnection]:
    """Yield a connection to the warehouse at `path`, with migrations applied; close and unlock it afterwards.

    A writer makes the file if it is missing. `timeout` (seconds) bounds every wait; then WarehouseBusyError names the
    holder and the lock file. Opening a missing or unmigrated warehouse read-only is a ValueError.
    """
    database = Path(path).absolute()
    deadline = time.monotonic() + timeout
    if read_only:
        if not database.exists():
            raise ValueError(
                f"there is no warehouse at {database}; run synth-and-train first (`make demo`), "
                "which makes it, or name another file"
            )
        with _connect(database, True, deadline, timeout, memory_limit) as con:
            _refuse_unmigrated(con, database)
            yield con
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with _hold_lock(database, timeout), _connect(database, False, deadline, timeout, memory_limit) as con:
        apply_migrations(con)
        yield con


def set_aside_unreadable(path: str | Path, *, timeout: float = 60.0) -> tuple[Path, str] | None:
    """Read every row of the warehouse; if that fails, rename the file and return its new path and DuckDB's reason.

    Nothing is deleted. A missing file, or one that this process may not read, is not damaged.
    """
    database = Path(path).absolute()
    if find_damage(database, timeout=timeout) is None:
        return None
    with _hold_lock(database, timeout):
        if (damage := find_damage(database, timeout=timeout)) is None:
            return None  # another run has rebuilt it in the meantime
        aside = database.with_name(f"{database.stem}.unreadable-{datetime.now(UTC):%Y%m%dT%H%M%S%f}{database.suffix}")
        with suppress(FileNotFoundError):
            os.rename(f"{database}.wal", f"{aside}.wal")
        os.rename(database, aside)
    return aside, damage


def find_damage(path: str | Path, *, timeout: float = 60.0) -> str | None:
    """Return why the warehouse cannot be read as a whole, or None if it can, or there is none.

    It is opened for reading only, so that a full disk is not taken for damage.
    """
    database = Path(path).absolute()
    if not database.exists():
        return None
    try:
        with _connect(database, True, time.monotonic() + timeout, timeout, MEMORY_LIMIT) as con:
            for (table,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                con.execute(f'SELECT bit_xor(hash(row_read)) FROM "{table}" AS row_read').fetchall()
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        with database.open("rb"):  # raises PermissionError for a file that is not ours to read
            return str(error).splitlines()[0]
    return None


@contextmanager
def open_transaction(con: DuckDBPyConnection) -> Iterator[None]:
    """Commit everything that the block does, or nothing if the block raises. Raises the audit event `comem.commit`."""
    con.execute("BEGIN TRANSACTION")
    try:
        yield
        sys.audit("comem.commit")
    except BaseException:
        with suppress(duckdb.Error):  # a failed statement may have ended the transaction; keep the first error
            con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")


def apply_migrations(con: DuckDBPyConnection, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the missing migrations in order of name, each in one transaction with its hash; return their names.

    ValueError if an applied migration has changed since, or if the warehouse has one that is not in `folder`.
    """
    con.execute(
        "CREATE TABLE IF NOT EXISTS migration"
        " (name VARCHAR PRIMARY KEY, sha256 VARCHAR NOT NULL, applied TIMESTAMPTZ NOT NULL)"
    )
    waiting = _list_missing_migrations(con, folder)
    for file in waiting:
        text = file.read_text(encoding="utf-8")
        with open_transaction(con):
            con.execute(text)
            con.execute("INSERT INTO migration VALUES (?, ?, ?)", [file.name, _sha256(text), datetime.now(UTC)])
    return [file.name for file in waiting]


def _list_missing_migrations(con: DuckDBPyConnection, folder: Path) -> list[Path]:
    """Return the files of missing migrations, in order; raise ValueError for a changed, unknown or late migration."""
    files = {file.name: file for file in sorted(folder.glob("*.sql"))}
    applied: dict[str, str] = dict(con.execute("SELECT name, sha256 FROM migration ORDER BY name").fetchall())
    for name, sha256 in applied.items():
        if name not in files:
            raise ValueError(
                f"the warehouse has migration {name}, which this version of comem does not know: update comem"
            )
        if _sha256(files[name].read_text(encoding="utf-8")) != sha256:
            raise ValueError(f"migration {name} has changed since it was applied: restore it and add a new migration")
    waiting = [file for name, file in files.items() if name not in applied]
    if late := [file.name for file in waiting if applied and file.name < max(applied)]:
        raise ValueError(f"migration {late[0]} comes before {max(applied)}, which is applied: give it the next number")
    return waiting


def _refuse_unmigrated(con: DuckDBPyConnection, database: Path) -> None:
    known = con.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'migration'").fetchall()
    waiting = _list_missing_migrations(con, MIGRATIONS) if known[0][0] else [MIGRATIONS / "all of them"]
    if waiting:
        names = ", ".join(file.name for file in waiting)
        raise ValueError(
            f"{database} lacks migrations ({names}); open it once for writing: python -m warehouse migrate"
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _hold_lock(database: Path, timeout: float) -> Iterator[None]:
    """Hold the lock file beside the database, with a note of which process holds it.

    The note is a separate file, because a process that waits for the lock truncates the lock file at each try.
    """
    lock = FileLock(f"{database}.lock")
    note = Path(f"{database}.writer.json")
    try:
        lock.acquire(timeout=timeout, poll_interval=_POLL_SECONDS)
    except Timeout:
        raise WarehouseBusyError(
            f"waited {timeout:g} s to write to {database}: {_describe_holder(note)} holds the lock file "
            f"{lock.lock_file}"
        ) from None
    try:
        note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _describe_holder(note: Path) -> str:
    """Describe the process that holds the warehouse, as far as its note tells."""
    try:
        holder = json.loads(note.read_text())
    except (OSError, ValueError):
        return "another process (it left no note)"
    return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _connect(
    database: Path, read_only: bool, deadline: float, timeout: float, memory_limit: str
) -> Iterator[DuckDBPyConnection]:
    """Yield a DuckDB connection; while another process holds the file, try again until `deadline`."""
    while True:
        try:
            con = duckdb.connect(
                str(database),
                read_only=read_only,
                config={
                    "memory_limit": memory_limit,
                    "temp_directory": f"{database}.tmp",
                    "dynamic_or_filter_threshold": NUM_IDS_LOOKED_UP,
                },
            )
            break
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            if not any(words in str(error) for words in _BUSY):
                raise
            if time.monotonic() >= deadline:
                raise WarehouseBusyError(_describe_busy(database, read_only, timeout, error)) from error
            time.sleep(_POLL_SECONDS)
    try:
        yield con
    finally:
        con.close()


def _describe_busy(database: Path, read_only: bool, timeout: float, error: Exception) -> str:
    """Describe who has the file open: DuckDB names a process of this machine, and a writer leaves a note."""
    note, found = Path(f"{database}.writer.json"), re.search(r"\(PID (\d+)\)", str(error))
    if found:
        holder = f"process {found[1]} on {socket.gethostname()}{_quote_command(int(found[1]))}"
    elif read_only and note.exists():  # while this process waits to write, the note is its own
        holder = _describe_holder(note)
    else:
        holder = "another program, or another connection of this one,"
    return (
        f"waited {timeout:g} s to {'read' if read_only else 'write to'} {database}: {holder} has it open. Close it "
        f"there, or end that process, and start again. {error}"
    )


def _quote_command(pid: int) -> str:
    """Return the command of a process in brackets; nothing if it has ended or is not ours to see."""
    with suppress(psutil.Error):
        command = " ".join(" ".join(psutil.Process(pid).cmdline()).split())
        return f" ({command if len(command) <= 200 else command[:200] + '…'})" if command else ""
    return ""
