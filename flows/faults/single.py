"""Faults that are tried one at a time, each in a run of its own; the sentence of each function says what is done.

What must hold afterwards is the same for all: the run ends well, and `checking` finds nothing.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from flows.faults.checking import find_wrong, list_finished
from flows.faults.journal import Round
from flows.faults.killing import OF_RAY
from flows.faults.stand import Attempt, DeployedAttempt, Stand, wait_for_end
from tasks.engine.store import Store
from tasks.upkeep.fsck import find_faults
from warehouse.connection import open_warehouse

MOST_STARTS, DAY = 5, 24 * 3600
GONE_SECONDS, STOPPED_SECONDS = 30, 60
OF_EACH_RUN = ("report",)
"""Stages that are made by each run for itself, so that no later run needs their results."""

WRITE_AND_DIE = """
import os, sys
from warehouse.connection import open_transaction, open_warehouse

with open_warehouse(sys.argv[1]) as con:
    con.execute("SET wal_autocheckpoint = '100GB'")
    with open_transaction(con):
        con.execute("CREATE TABLE IF NOT EXISTS written (number BIGINT, word VARCHAR)")
    for _ in range(int(sys.argv[2])):
        with open_transaction(con):
            con.execute("INSERT INTO written SELECT range, 'word ' || range FROM range(10000)")
    os.kill(os.getpid(), 9)
"""
"""Leaves transactions in the warehouse's log (WAL) that are not in its file, as a writer does that is killed."""
SMALL_LOG, HUGE_LOG = 5, 1500


@dataclass
class FaultTrial:
    """A fault that is tried from the run of a number on; `round` is what comes of it."""

    stand: Stand
    round: Round
    began: float = field(default_factory=time.monotonic)

    @property
    def number(self) -> int:
        return self.round.numbers[-1]

    def take_next(self) -> int:
        """Take one more number, for a run that makes something else."""
        self.round.numbers = [*self.round.numbers, self.number + 1]
        return self.number

    def start(self, **settings: str) -> Attempt:
        """Start the run of the last number as a process."""
        self.round.starts += 1
        return self.stand.start(self.number, api_url=self.stand.read_note().api_url, **settings)

    def deploy(self) -> DeployedAttempt:
        """Start the run of the last number by its deployment."""
        self.round.starts += 1
        return DeployedAttempt.start(self.stand, self.number)

    def finish(self, *attempts: Attempt | DeployedAttempt, need_all: bool = False) -> None:
        """Wait for runs, and start one that failed again, as its user does; with `need_all` its failure is wrong."""
        for attempt in attempts:
            ended = wait_for_end(attempt)
            if not ended and need_all:
                self.round.wrong.append("a run did not end well at its first start")
            for _ in range(MOST_STARTS):
                if ended:
                    break
                again = self.start()
                if not (ended := wait_for_end(again)):
                    again.end()
            else:
                self.round.wrong.append(f"the run did not end well after {MOST_STARTS} starts")

    def wait_for_work(self, attempt: Attempt | DeployedAttempt) -> bool:
        """Wait until a stage has finished a part of its result; tell whether the run still goes on."""
        store = self.stand.context.store
        while not list_finished(store) and attempt.poll() is None:
            time.sleep(0.02)
        return attempt.poll() is None

    def check(self) -> None:
        """Note what is wrong now."""
        self.round.wrong += find_wrong(self.stand.context)

    def list_artefacts(self) -> list[tuple[str, str]]:
        """List stage and name of what the last run made or reused."""
        with open_warehouse(self.stand.context.warehouse, read_only=True) as con:
            last = "(SELECT run_id FROM run ORDER BY started DESC LIMIT 1)"
            return con.execute(f"SELECT stage, fingerprint FROM run_stage WHERE run_id = {last}").fetchall()


def try_fault(stand: Stand, fault: str, number: int) -> Round:
    """Try one fault, and return what came of it."""
    trial = FaultTrial(stand, Round(fault=fault, numbers=[number], starts=0))
    FAULTS[fault](trial)
    trial.check()
    trial.round.seconds = time.monotonic() - trial.began
    return trial.round


def start_two_flows(trial: FaultTrial) -> None:
    """Two runs of the same recipe are started at once."""
    trial.finish(trial.start(), trial.start(), need_all=True)


def start_five_of_a_deployment(trial: FaultTrial) -> None:
    """Five runs of one deployment are started at once, of which four want what another one makes too."""
    attempts = [trial.deploy(), trial.deploy()]
    trial.take_next()
    attempts += [trial.deploy(), trial.deploy()]
    trial.take_next()
    trial.finish(*attempts, trial.deploy(), need_all=True)


def stop_server(trial: FaultTrial) -> None:
    """Prefect's server is stopped for a minute in the middle of a run, so that it takes calls and answers none."""
    attempt, note = trial.deploy(), trial.stand.read_note()
    assert note.server is not None
    if not trial.wait_for_work(attempt):
        trial.round.wrong.append("the run ended before the server was stopped")
    server = psutil.Process(note.server.pid)
    server.suspend()
    time.sleep(STOPPED_SECONDS)
    server.resume()
    trial.finish(attempt, need_all=True)


def kill_server(trial: FaultTrial) -> None:
    """Prefect's server is killed in the middle of a run, and started again half a minute later by `make serve`."""
    attempt, note = trial.deploy(), trial.stand.read_note()
    assert note.server is not None
    if not trial.wait_for_work(attempt):
        trial.round.wrong.append("the run ended before the server was killed")
    psutil.Process(note.server.pid).kill()
    time.sleep(GONE_SECONDS)
    trial.finish(attempt, need_all=True)


def shorten_memory(trial: FaultTrial) -> None:
    """A run is started that wants more memory than there is; then the workers of one may not take any more."""
    refused = trial.start(COMEM_MIN_FREE_MEMORY_MB="100000000")
    if wait_for_end(refused):
        trial.round.wrong.append("a run began with less memory than it needs")
    attempt = trial.start()
    if trial.wait_for_work(attempt) and (root := attempt.find_root()):
        for each in root.children(recursive=True):
            if OF_RAY["actor"](each):
                size = each.memory_info().vms
                resource.prlimit(each.pid, resource.RLIMIT_AS, (size, size))
    trial.finish(attempt)


def set_clock_back(trial: FaultTrial) -> None:
    """A run is killed, and every file is given a time of tomorrow, as if the clock had been set back by a day."""
    _kill_at_work(trial)
    context, tomorrow = trial.stand.context, time.time() + DAY
    for path in [*context.store.rglob("*"), *context.warehouse.parent.glob(f"{context.warehouse.name}*")]:
        os.utime(path, (tomorrow, tomorrow))
    trial.finish(trial.start())


def tear_shard(trial: FaultTrial) -> None:
    """A run is killed, and half of the newest finished shard or batch of an unfinished result is cut off."""
    store = trial.stand.context.store
    while not (finished := [store / name for name in list_finished(store)]):
        _kill_at_work(trial)
    newest = max(finished, key=lambda path: path.stat().st_mtime_ns)
    os.truncate(newest, newest.stat().st_size // 2)
    trial.finish(trial.start())


def flip_bytes(trial: FaultTrial) -> None:
    """A byte of a file of each stage's result is flipped; `make fsck` names each, and the same run makes them good."""
    trial.finish(trial.start())
    context, flipped = trial.stand.context, {}
    for stage, name in trial.list_artefacts():
        if (record := Store.of(context).find(stage, name)) and stage not in flipped:
            file = max(record["shards"], key=lambda shard: shard["bytes"])["file"]
            flipped[stage] = (name, Path(record["uri"]) / file)
            _flip_a_byte(flipped[stage][1])
    named = {fault.name for fault in find_faults(context)}
    trial.round.wrong += [
        f"nobody named {stage}" for stage, (name, _) in flipped.items() if f"{stage} {name}" not in named
    ]
    for stage in OF_EACH_RUN:
        _flip_a_byte(flipped[stage][1])
    trial.finish(trial.start())


def break_log(trial: FaultTrial) -> None:
    """A writer of the warehouse is killed, and its log is cut off, changed in the middle, and made huge."""
    log = Path(f"{trial.stand.context.warehouse}.wal")
    for transactions, damage in ((SMALL_LOG, _tear), (SMALL_LOG, _flip_a_byte), (HUGE_LOG, None)):
        trial.finish(trial.start())
        _write_and_die(trial.stand, transactions)
        if damage is not None:
            damage(log)
        trial.take_next()
        trial.finish(trial.start(), need_all=True)
        trial.check()


def lose_warehouse(trial: FaultTrial) -> None:
    """The warehouse is deleted; the next run makes it again of all that is in the store."""
    trial.finish(trial.start())
    warehouse = trial.stand.context.warehouse
    for path in (warehouse, Path(f"{warehouse}.wal")):
        path.unlink(missing_ok=True)
    trial.finish(trial.start(), need_all=True)


def _kill_at_work(trial: FaultTrial) -> None:
    attempt = trial.start()
    if not trial.wait_for_work(attempt):
        trial.round.wrong.append("the run ended before it was killed")
    attempt.process.send_signal(signal.SIGKILL)
    attempt.end()


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _tear(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _write_and_die(stand: Stand, transactions: int) -> None:
    command = [sys.executable, "-c", WRITE_AND_DIE, str(stand.context.warehouse), str(transactions)]
    ended = subprocess.run(command, cwd=stand.folder)
    assert ended.returncode == -signal.SIGKILL, ended


FAULTS: Mapping[str, Callable[[FaultTrial], None]] = {
    "two_flows": start_two_flows,
    "five_of_a_deployment": start_five_of_a_deployment,
    "server_stopped": stop_server,
    "server_killed": kill_server,
    "memory_short": shorten_memory,
    "clock_set_back": set_clock_back,
    "torn_shard": tear_shard,
    "flipped_bytes": flip_bytes,
    "broken_log": break_log,
    "lost_warehouse": lose_warehouse,
}
